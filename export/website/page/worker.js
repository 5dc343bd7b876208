// Runs the model, so that the page stays responsive.  A classic worker: LiteRT.js loads its WebAssembly with importScripts.

const OUTPUTS = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];

let modules, model, settings;

self.onmessage = async ({ data }) => {
  try {
    if (data.type === "load") {
      self.postMessage({ type: "ready", threads: await load(data.settings) });
    } else {
      self.postMessage({ type: "found", id: data.id, ...(await detect(data.picture)) });
    }
  } catch (error) {
    self.postMessage({ type: "problem", id: data.id, message: String(error?.message ?? error) });
  }
};

async function load(given) {
  settings = given;
  modules = { ...(await import("./litert/index.js")), ...(await import("./detector.js")) };
  // Threads share memory, which browsers allow only for pages that are isolated from others.
  const threads = self.crossOriginIsolated && (await modules.supportsFeature("threads"));
  const folder = new URL("litert/wasm/", self.location.href).href;
  // The WebAssembly would look for its files, and for the script of its threads, beside this worker.
  self.Module = {
    locateFile: (name) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
    printErr: (line) => /^(INFO|WARNING)/.test(line) || console.error(line),
  };
  await modules.loadLiteRt(folder, { threads });
  model = await modules.loadAndCompile(await download("model.tflite", settings.modelBytes), { accelerator: "wasm" });
  return threads;
}

async function download(name, total) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: the server answered ${answer.status}`);
  const content = new Uint8Array(total);
  let loaded = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (loaded + value.length > total) throw new Error(`${name}: the file is not the one of this page; load it again`);
    content.set(value, loaded);
    loaded += value.length;
    self.postMessage({ type: "progress", loaded, total });
  }
  if (loaded < total) throw new Error(`${name}: only ${loaded} of ${total} bytes arrived; load the page again`);
  return content;
}

async function detect(picture) {
  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  const started = performance.now();
  const pixels = context.getImageData(0, 0, width, height).data;
  const [newHeight, newWidth] = settings.size;
  const input = modules.resize(pixels, width, height, newWidth, newHeight);
  const tensor = new modules.Tensor(input, [1, newHeight, newWidth, 3]);
  const outputs = {};
  let answered = {};
  try {
    answered = await model.run({ images: tensor });
    for (const name of OUTPUTS) outputs[name] = (await answered[name].data()).slice();
  } finally {
    for (const one of [tensor, ...Object.values(answered)]) one.delete(); // WebAssembly frees no memory by itself
  }
  const found = modules.detections(outputs, width, height, settings.labels);
  return { found, seconds: (performance.now() - started) / 1000 };
}
