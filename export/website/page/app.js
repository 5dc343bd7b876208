import { draw } from "./drawing.js";

const element = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

let settings, worker;
let shown = null; // { picture, found, seconds } of what the canvas shows
let camera = null; // the stream while the camera is on
let next = 0; // the number of the newest picture
let turn = 0; // grows when a picture is opened, and when the camera starts or stops: older work then ends
const waiting = new Map(); // number of a picture -> { resolve, reject } of its promise

start().catch(problem);

async function start() {
  if (!self.WebAssembly || !self.Worker || !self.OffscreenCanvas || !self.createImageBitmap) {
    throw new Error("This browser is too old: it needs WebAssembly, workers and OffscreenCanvas.");
  }
  if (!self.isSecureContext) {
    throw new Error("Open this page over https or from localhost. Browsers allow the camera and offline use only there.");
  }
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Error(`model.json: the server answered ${answer.status}`);
  settings = await answer.json();
  element("title").textContent = document.title = settings.title;
  element("classes").textContent = settings.labels.join(", ");
  const sizes = [`model ${megabytes(settings.modelBytes)}`, `runtime ${megabytes(settings.runtimeBytes)}`];
  element("downloads").textContent = `Downloads: ${sizes.join(", ")}.`;
  if (await waitsForReload()) return;
  element("score").min = settings.leastScore;
  element("score").value = Math.max(0.5, settings.leastScore);
  showScore();
  worker = new Worker("worker.js");
  worker.onmessage = ({ data }) => answered(data);
  worker.onerror = (event) => problem(new Error(event.message || "The worker could not be loaded."));
  element("status").textContent = "Loading the runtime";
  worker.postMessage({ type: "load", settings });
}

// The service worker keeps the files for use without a network, and isolates the page, which allows threads.  It does
// so only for pages that are loaded after it started, so the first visit loads the page twice.
async function waitsForReload() {
  if (!("serviceWorker" in navigator)) return false;
  try {
    await navigator.serviceWorker.register("service_worker.js");
    await navigator.serviceWorker.ready;
  } catch {
    return false; // a private window may forbid it: then the page works with one thread, and needs the network
  }
  if (navigator.serviceWorker.controller && self.crossOriginIsolated) return false;
  if (sessionStorage.getItem("reloaded") === settings.version) return false;
  sessionStorage.setItem("reloaded", settings.version);
  location.reload();
  return true;
}

function answered(data) {
  if (data.type === "progress") {
    element("status").textContent = `Loading the model: ${megabytes(data.loaded)} of ${megabytes(data.total)}`;
    element("progress").value = data.loaded / data.total;
  } else if (data.type === "ready") {
    document.body.dataset.threads = data.threads;
    element("loading").hidden = true;
    element("choose").hidden = false;
  } else if (data.type === "found") {
    waiting.get(data.id).resolve(data);
    waiting.delete(data.id);
  } else if (waiting.has(data.id)) {
    waiting.get(data.id).reject(new Error(data.message));
    waiting.delete(data.id);
  } else {
    problem(new Error(data.message));
  }
}

function problem(error) {
  element("loading").hidden = false;
  element("progress").hidden = true;
  element("status").className = "problem";
  element("status").textContent = error.message;
}

function withoutProblem() {
  element("loading").hidden = true;
  element("status").className = "";
}

// The detections in a picture, which the worker gets a copy of.
function detect(picture) {
  return new Promise((resolve, reject) => {
    const id = next++;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ type: "detect", id, picture });
  });
}

async function open(file) {
  stopCamera();
  withoutProblem();
  const mine = ++turn;
  let picture;
  try {
    picture = await createImageBitmap(file, {
      imageOrientation: settings.turned ? "from-image" : "none",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    if (mine === turn) problem(new Error(`${file.name} is not a picture that this browser can read.`));
    return;
  }
  if (mine !== turn) {
    picture.close();
    return;
  }
  element("result").hidden = false;
  show({ picture, found: [], seconds: null });
  try {
    const answer = await detect(picture);
    if (mine === turn) show({ picture, ...answer });
  } catch (error) {
    if (mine === turn) problem(error);
  }
}

function show(result) {
  if (shown && shown.picture !== result.picture) shown.picture.close();
  shown = result;
  const least = Number(element("score").value);
  const found = result.found.filter((one) => one.score >= least);
  draw(element("canvas"), result.picture, found);
  element("time").textContent =
    result.seconds === null ? "Looking" : `${found.length} found in ${result.seconds.toFixed(2)} s`;
  element("rows").replaceChildren(...found.map(row));
}

function row({ label, score, box }) {
  const cells = [label, score.toFixed(2), ...box.map((corner) => corner.toFixed(0))];
  const line = document.createElement("tr");
  line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
}

function showScore() {
  element("score-shown").textContent = Number(element("score").value).toFixed(2);
}

async function startCamera() {
  withoutProblem();
  const mine = ++turn;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    if (mine === turn) problem(new Error(`The camera cannot be used: ${error.message}.`));
    return;
  }
  if (mine !== turn) {
    end(stream); // the visitor did something else before the browser gave the camera
    return;
  }
  camera = stream;
  element("camera").textContent = "Stop the camera";
  try {
    const video = element("video");
    video.srcObject = camera;
    await video.play();
    while (mine === turn) {
      const picture = await createImageBitmap(video);
      const answer = await detect(picture);
      if (mine !== turn) {
        picture.close();
        return;
      }
      element("result").hidden = false;
      show({ picture, ...answer });
    }
  } catch (error) {
    if (mine !== turn) return;
    stopCamera();
    problem(error);
  }
}

function stopCamera() {
  turn++;
  if (!camera) return;
  end(camera);
  camera = null;
  element("camera").textContent = "Use the camera";
}

function end(stream) {
  for (const track of stream.getTracks()) track.stop();
}

element("file").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
element("camera").addEventListener("click", () => (camera ? stopCamera() : startCamera()));
element("score").addEventListener("input", () => {
  showScore();
  if (shown) show(shown);
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => element("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && worker && !element("choose").hidden) open(file);
});
