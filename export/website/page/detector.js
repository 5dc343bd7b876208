// From a picture to the model's input, and from its outputs to detections.  Pure functions, without the page.

const float32 = Math.fround;

// Resize an RGBA picture to RGB as training does: bilinear, with half-pixel centres, without smoothing.  TensorFlow
// computes in float32 and rounds halves to even, so this does, too.
export function resize(rgba, width, height, newWidth, newHeight) {
  const across = samples(width, newWidth);
  const down = samples(height, newHeight);
  const out = new Uint8Array(newHeight * newWidth * 3);
  let place = 0;
  for (let y = 0; y < newHeight; y++) {
    const top = down.low[y] * width;
    const bottom = down.high[y] * width;
    for (let x = 0; x < newWidth; x++) {
      const left = across.low[x];
      const right = across.high[x];
      for (let channel = 0; channel < 3; channel++) {
        const above = mix(rgba[4 * (top + left) + channel], rgba[4 * (top + right) + channel], across.share[x]);
        const below = mix(rgba[4 * (bottom + left) + channel], rgba[4 * (bottom + right) + channel], across.share[x]);
        out[place++] = roundHalfToEven(mix(above, below, down.share[y]));
      }
    }
  }
  return out;
}

// For each new position of an axis: the two old positions beside it, and the share of the second.
function samples(size, newSize) {
  const scale = float32(size / newSize);
  const low = new Int32Array(newSize);
  const high = new Int32Array(newSize);
  const share = new Float32Array(newSize);
  for (let position = 0; position < newSize; position++) {
    const centre = float32(float32(float32(position + 0.5) * scale) - 0.5);
    low[position] = Math.max(Math.floor(centre), 0);
    high[position] = Math.min(Math.ceil(centre), size - 1);
    share[position] = float32(centre - Math.floor(centre));
  }
  return { low, high, share };
}

function mix(first, second, share) {
  return float32(first + float32(float32(second - first) * share));
}

function roundHalfToEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}

// The detections in the model's outputs, best first.  Boxes are [top, left, bottom, right] in pixels of the picture.
export function detections(outputs, width, height, labels) {
  const count = outputs.num_detections[0];
  const found = [];
  for (let row = 0; row < count; row++) {
    const [top, left, bottom, right] = outputs.detection_boxes.subarray(4 * row, 4 * row + 4);
    found.push({
      label: labels[outputs.detection_classes[row] - 1],
      class: outputs.detection_classes[row],
      score: outputs.detection_scores[row],
      box: [top * height, left * width, bottom * height, right * width],
    });
  }
  return found;
}
