// Keeps the files of this site, so that it works without a network, and sets the headers that allow threads.

const VERSION = "{version}"; // of the files; written by export.web
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  // Workers do not take the policy of the page.
  "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:",
};

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));

self.addEventListener("activate", (event) => event.waitUntil(deleteOthers().then(() => self.clients.claim())));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});

async function deleteOthers() {
  const names = await caches.keys();
  // Other sites of the same server keep theirs.
  const own = names.filter((name) => name.startsWith(self.registration.scope) && name !== cacheName());
  await Promise.all(own.map((name) => caches.delete(name)));
}

function cacheName() {
  return `${self.registration.scope} ${VERSION}`;
}

async function answer(request) {
  const cache = await caches.open(cacheName());
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const fresh = await fetch(request, { cache: "no-cache" });
  if (fresh.ok) await cache.put(request, fresh.clone()).catch(() => {}); // a full disk costs only the offline use
  return isolated(fresh);
}

function isolated(response) {
  if (response.type === "opaqueredirect") return response; // the browser follows it, and asks again
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
