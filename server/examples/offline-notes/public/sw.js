// Keeps the page itself at hand, so that it opens without a network. What people write is PouchDB's affair,
// and requests to Settee or to /api pass by.
const CACHE = 'notes-1';
const SHELL = ['/', '/app.mjs', '/style.css', '/icon.svg', '/app.webmanifest', '/vendor/pouchdb.min.js'];

self.addEventListener('install', event => {
  event.waitUntil(caches.open(CACHE).then(cache => cache.addAll(SHELL)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', event => {
  const stale = names => names.filter(name => name !== CACHE).map(name => caches.delete(name));
  event.waitUntil(caches.keys().then(names => Promise.all(stale(names))).then(() => self.clients.claim()));
});

self.addEventListener('fetch', event => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin || !SHELL.includes(url.pathname)) return;
  // The network first: whoever is online gets the newest page.
  event.respondWith(fetch(event.request).then(answer => {
    const copy = answer.clone();
    event.waitUntil(caches.open(CACHE).then(cache => cache.put(event.request, copy)));
    return answer;
  }).catch(() => caches.match(event.request)));
});
