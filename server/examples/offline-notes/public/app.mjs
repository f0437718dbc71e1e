// The page: notes in a PouchDB of its own, which syncs with the user's database whenever there is a network.
const $ = selector => document.querySelector(selector);
const SESSION = 'notes-session';
const RETRY_MS = 1000;

let local, sync, session;

const state = text => {
  $('#state').textContent = text;
  $('#state').dataset.state = text;
};

/** PouchDB's fetch with what shows Settee who asks: the application's token, or the cookie that the browser keeps. */
const authorized = ({ how, headers }) => (url, options) => {
  options.credentials = how === 'cookie' ? 'include' : 'omit';
  if (how === 'proxy') for (const [name, value] of Object.entries(headers)) options.headers.set(name, value);
  return PouchDB.fetch(url, options);
};

async function api(action, body) {
  const answer = await fetch(`/api/${action}`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error);
  return result;
}

/** Signs in at Settee itself: from now on the browser sends its cookie along. */
async function cookie({ settee }, { name, password }) {
  const answer = await fetch(`${settee}/_session`, {
    method: 'POST', credentials: 'include',
    headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name, password }),
  });
  if (!answer.ok) throw new Error((await answer.json()).reason);
}

function startSync() {
  sync?.cancel();
  const remote = new PouchDB(`${session.settee}/${session.database}`, { skip_setup: true, fetch: authorized(session) });
  sync = local.sync(remote, { live: true, retry: true, back_off_function: () => RETRY_MS });
  // Each direction runs until it has nothing left to do, or waits for the network; both say `paused` then.
  const directions = { push: 'syncing', pull: 'syncing' };
  const tell = (direction, now) => {
    directions[direction] = now;
    const all = Object.values(directions);
    state(!navigator.onLine || all.includes('offline') ? 'offline' : all.includes('syncing') ? 'syncing' : 'synced');
  };
  for (const direction of Object.keys(directions)) {
    sync[direction]
      .on('active', () => tell(direction, 'syncing'))
      .on('paused', error => tell(direction, error ? 'offline' : 'synced'));
  }
  sync.on('denied', () => state('refused'))
    .on('error', error => state(error.status === 401 || error.status === 403 ? 'refused' : 'offline'));
}

async function show() {
  const { rows } = await local.allDocs({ include_docs: true });
  $('#notes').replaceChildren(...rows.map(({ doc }) => {
    const item = document.createElement('li');
    const remove = document.createElement('button');
    remove.textContent = 'Delete';
    remove.onclick = () => local.remove(doc);
    item.dataset.id = doc._id;
    item.append(doc.text, remove);
    return item;
  }));
}

async function enter() {
  // One local database for each user of this browser.
  local = new PouchDB(`notes-${session.name}`);
  local.changes({ since: 'now', live: true }).on('change', show);
  $('#sign-in').hidden = true;
  $('main').hidden = $('#leave').hidden = false;
  $('#who').textContent = session.name;
  await show();
  state('offline');
  startSync();
}

$('#sign-in').onsubmit = async event => {
  event.preventDefault();
  const form = new FormData(event.target, event.submitter);
  const { name, password, how, action } = Object.fromEntries(form);
  try {
    const signedIn = await api(action, { name, password });
    if (how === 'cookie') await cookie(signedIn, { name, password });
    session = { ...signedIn, how };
    localStorage.setItem(SESSION, JSON.stringify(session));
    $('#refusal').textContent = '';
    await enter();
  } catch (error) { $('#refusal').textContent = error.message; }
};

$('#write').onsubmit = async event => {
  event.preventDefault();
  const text = new FormData(event.target).get('text');
  event.target.reset();
  await local.put({ _id: `${new Date().toISOString()}-${Math.random().toString(36).slice(2)}`, text });
};

$('#leave').onclick = () => {
  sync?.cancel();
  localStorage.removeItem(SESSION);
  location.reload();
};

if ('serviceWorker' in navigator) await navigator.serviceWorker.register('/sw.js');
session = JSON.parse(localStorage.getItem(SESSION) ?? 'null');
if (session) await enter();
else $('#sign-in').hidden = false;
