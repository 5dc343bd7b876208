// Draws boxes and labels over a picture.

// A colour for each class; neighbours differ by the golden angle.
export function colour(number) {
  return `hsl(${((number - 1) * 137.508) % 360} 85% 60%)`;
}

export function draw(canvas, picture, found) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const line = Math.max(2, Math.round(Math.min(canvas.width, canvas.height) / 200));
  const size = Math.max(12, 8 * line);
  context.lineWidth = line;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const { label, class: number, score, box } of [...found].reverse()) {
    const [top, left, bottom, right] = box;
    context.strokeStyle = context.fillStyle = colour(number);
    context.strokeRect(left, top, right - left, bottom - top);
    const text = `${label} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + size / 2;
    const x = Math.max(0, Math.min(left, canvas.width - width));
    const y = Math.max(0, top - 1.3 * size);
    context.fillRect(x, y, width, 1.3 * size);
    context.fillStyle = "#000";
    context.fillText(text, x + size / 4, y + 0.15 * size);
  }
}
