// The pages of a Settee: signing in, databases, documents, what is going on.
//
// One page; which view is shown stands behind the `#` of the address, and `views` maps it to a function that
// returns what is to be shown. Everything that comes from the server is put into the page as text, never as
// markup. Documents are shown and stored as the text that came and was typed: reading them into JavaScript
// would round large numbers.

const PER_PAGE = 50;
const REFRESH_MS = 3000;

const enc = encodeURIComponent;
const main = document.getElementById('main');

/** An element with attributes (functions are listeners) and children. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter(child => child != null && child !== false));
  return element;
}

const link = (href, ...children) => el('a', { href }, ...children);
const table = (head, rows) => el('table', {},
  el('thead', {}, el('tr', {}, head.map(text => el('th', {}, text)))), el('tbody', {}, rows));
const message = text => el('p', { class: 'message', role: 'status' }, text);

/** What the server refused. */
class Refusal extends Error {
  constructor(status, { error, reason } = {}) {
    super(reason || error || `the server answered ${status}`);
    this.status = status;
  }
}

/** One request below the root of the server; the answer's text. */
async function ask(method, path, body) {
  const headers = { accept: 'application/json', 'x-couchdb-www-authenticate': 'Cookie' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(`../${path}`, { method, headers, body, credentials: 'same-origin' });
  const text = await answer.text();
  if (answer.ok) return text;
  let told;
  try { told = JSON.parse(text); } catch { /* not from this server */ }
  throw new Refusal(answer.status, told);
}

const get = async path => JSON.parse(await ask('GET', path));

/** The path of a document: the slash behind `_design` and `_local` is one. */
function documentPath(db, id) {
  const place = ['_design/', '_local/'].find(place => id.startsWith(place)) ?? '';
  return `${enc(db)}/${place}${enc(id.slice(place.length))}`;
}

const databaseLink = db => link(`#/db/${enc(db)}`, db);
const documentLink = (db, id, rev) =>
  link(`#/doc/${enc(db)}/${enc(id)}${rev ? `?rev=${enc(rev)}` : ''}`, rev ?? id);

function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at++; }
  return `${at ? count.toFixed(1) : count} ${units[at]}`;
}

/** JSON text with line ends and indentation; what it says stays byte for byte as it is. */
function pretty(text) {
  let out = '', depth = 0;
  const line = () => '\n' + '  '.repeat(depth);
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '{' || token === '[') { depth++; out += token + line(); }
    else if (token === '}' || token === ']') {
      depth--;
      const empty = /[{[]\s*$/.test(out);
      out = empty ? out.trimEnd() + token : out + line() + token;
    } else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  }
  return out;
}

// ---- Signing in

let session = { name: null, roles: [] };

async function readSession() {
  try { session = (await get('_session')).userCtx; } catch { session = { name: null, roles: [] }; }
  const user = document.getElementById('user');
  user.replaceChildren(...(session.name === null ? [] : [
    `${session.name} `,
    el('button', { type: 'button', id: 'sign-out', click: signOut }, 'Sign out'),
  ]));
  document.getElementById('places').replaceChildren(...(session.name === null ? [] : [
    link('#/', 'Databases'), link('#/tasks', 'Activity'), link('#/replications', 'Replications'),
  ]));
}

async function signOut() {
  await ask('DELETE', '_session');
  await show();
}

/** Where to go after signing in: a path of this server, or this page. */
function target() {
  const wanted = new URLSearchParams(location.search).get('return');
  return wanted && /^\/(?![/\\])/.test(wanted) ? wanted : null;
}

function signIn(reason) {
  const told = el('div', {}, reason ? message(reason) : null);
  const name = el('input', { name: 'name', autocomplete: 'username', required: true, autofocus: true });
  const password = el('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const token = el('input', { name: 'token', inputmode: 'numeric', autocomplete: 'one-time-code' });
  const submit = async event => {
    event.preventDefault();
    try {
      const given = { name: name.value, password: password.value };
      if (token.value) given.token = token.value;
      await ask('POST', '_session', JSON.stringify(given));
    } catch (error) {
      told.replaceChildren(message(error.message));
      password.value = '';
      return;
    }
    if (target()) location.assign(target());
    else await show();
  };
  return el('form', { class: 'sign-in', submit },
    el('h1', {}, 'Sign in'), told,
    el('label', {}, 'Name', name), el('label', {}, 'Password', password),
    el('label', {}, 'One-time password, if you have one', token),
    el('button', { class: 'main' }, 'Sign in'));
}

// ---- Databases

async function databases({ query }) {
  const start = query.get('start');
  const goTo = el('input', { name: 'database', placeholder: 'name of a database', required: true });
  const open = el('form', { class: 'bar', submit: event => {
    event.preventDefault();
    location.hash = `#/db/${enc(goTo.value)}`;
  } }, goTo, el('button', {}, 'Open'));
  let names;
  try {
    names = await get(`_all_dbs?limit=${PER_PAGE + 1}${start ? `&startkey=${enc(JSON.stringify(start))}` : ''}`);
  } catch (error) {
    if (error.status !== 401) throw error;
    return [el('h1', {}, 'Databases'), message('Only administrators see the list. Open one by its name.'), open];
  }
  const next = names.length > PER_PAGE ? names.pop() : null;
  const infos = JSON.parse(await ask('POST', '_dbs_info', JSON.stringify({ keys: names })));
  const rows = infos.map(({ key, info }) => el('tr', {},
    el('td', {}, databaseLink(key)),
    el('td', { class: 'number' }, info ? `${info.doc_count}` : ''),
    el('td', { class: 'number' }, info ? bytes(info.sizes.file) : ''),
    el('td', { class: 'quiet' }, info?.compact_running ? 'is being compacted' : '')));
  return [
    el('h1', {}, 'Databases'),
    table(['Name', 'Documents', 'File', ''], rows),
    el('div', { class: 'bar' },
      start && link('#/', 'First page'), next && link(`#/?start=${enc(next)}`, 'Next page')),
    open,
  ];
}

async function database({ parts: [db], query }) {
  const start = query.get('start');
  const listing = await get(`${enc(db)}/_all_docs?limit=${PER_PAGE + 1}${
    start === null ? '' : `&startkey=${enc(JSON.stringify(start))}`}`);
  const next = listing.rows.length > PER_PAGE ? listing.rows.pop() : null;
  const jump = el('input', { name: 'start', placeholder: 'from this id on', value: start ?? '' });
  const rows = listing.rows.map(({ id, value }) => el('tr', {},
    el('td', {}, documentLink(db, id)), el('td', { class: 'rev quiet' }, value.rev)));
  return [
    el('h1', {}, db),
    el('form', { class: 'bar', submit: event => {
      event.preventDefault();
      location.hash = `#/db/${enc(db)}?start=${enc(jump.value)}`;
    } }, jump, el('button', {}, 'Go'), link(`#/new/${enc(db)}`, 'New document'),
    el('span', { class: 'quiet' }, `${listing.total_rows} documents`)),
    table(['Id', 'Revision'], rows),
    el('div', { class: 'bar' },
      start !== null && link(`#/db/${enc(db)}`, 'First page'),
      next && link(`#/db/${enc(db)}?start=${enc(next.id)}`, 'Next page')),
  ];
}

// ---- Documents

/** An editor of JSON text; `save` gets it, and says where to go then. */
function editor(text, save, ...more) {
  const told = el('div', {});
  const area = el('textarea', { name: 'document', spellcheck: 'false', 'aria-label': 'The document as JSON' });
  area.value = text;
  const run = work => async event => {
    event.preventDefault();
    try {
      await work(area.value);
    } catch (error) {
      told.replaceChildren(message(error.message));
    }
  };
  return el('form', { submit: run(save) }, area, told,
    el('div', { class: 'bar' }, el('button', { class: 'main' }, 'Save'),
      more.map(([name, work]) => el('button', { type: 'button', click: run(work) }, name))));
}

async function newDocument({ parts: [db] }) {
  const [id] = (await get('_uuids')).uuids;
  const save = async text => {
    const { _id } = JSON.parse(text);
    if (typeof _id !== 'string' || _id === '') throw new Error('a document needs an _id');
    await ask('PUT', documentPath(db, _id), text);
    location.hash = `#/doc/${enc(db)}/${enc(_id)}`;
  };
  return [el('h1', {}, databaseLink(db), ' / new document'), editor(`{\n  "_id": ${JSON.stringify(id)}\n}`, save)];
}

async function oneDocument({ parts: [db, id], query }) {
  const rev = query.get('rev');
  const path = documentPath(db, id);
  const text = await ask('GET', `${path}${rev ? `?rev=${enc(rev)}` : ''}`);
  const { _rev, _attachments = {} } = JSON.parse(text);
  const tree = await get(`${path}?conflicts=true`);
  const conflicts = tree._conflicts ?? [];
  const save = async edited => {
    JSON.parse(edited);
    await ask('PUT', path, edited);
    if (rev) location.hash = `#/doc/${enc(db)}/${enc(id)}`;
    else await show();
  };
  const remove = async () => {
    const others = conflicts.length > 0;
    const what = others ? `revision ${_rev}` : `document ${id}`;
    if (!confirm(`Delete ${what}?`)) return;
    await ask('DELETE', `${path}?rev=${enc(_rev)}`);
    location.hash = others ? `#/doc/${enc(db)}/${enc(id)}` : `#/db/${enc(db)}`;
    if (others && !rev) await show();
  };
  return [
    el('h1', {}, databaseLink(db), ' / ', id),
    rev && rev !== tree._rev && message(`This is revision ${rev}, which is not the one that readers are given.`),
    conflicts.length > 0 && el('section', { id: 'conflicts' },
      message(`This document has ${conflicts.length + 1} revisions in conflict. Readers are given the first. `
        + 'Copy into one what is to be kept, save it, and delete the others.'),
      el('ol', {}, [tree._rev, ...conflicts].map(one => el('li', { class: 'rev' },
        one === _rev ? `${one} (shown)` : documentLink(db, id, one))))),
    editor(pretty(text), save, [conflicts.length ? 'Delete this revision' : 'Delete', remove]),
    Object.keys(_attachments).length > 0 && [
      el('h2', {}, 'Attachments'),
      table(['Name', 'Type', 'Size'], Object.entries(_attachments).map(([name, { content_type, length }]) =>
        el('tr', {},
          el('td', {}, el('a', { href: `../${path}/${name.split('/').map(enc).join('/')}?rev=${enc(_rev)}`, download: true }, name)),
          el('td', {}, content_type), el('td', { class: 'number' }, bytes(length))))),
    ],
  ];
}

// ---- What is going on

const time = seconds => (typeof seconds === 'number' ? new Date(seconds * 1000) : new Date(seconds)).toLocaleString();

async function tasks() {
  refreshLater();
  const all = await get('_active_tasks');
  const rows = all.map(task => el('tr', {},
    el('td', {}, task.type), el('td', {}, task.database ?? task.source ?? ''),
    el('td', {}, task.design_document ?? task.target ?? ''),
    el('td', { class: 'number' }, typeof task.progress === 'number' ? `${task.progress} %`
      : `${task.changes_done ?? task.docs_written ?? ''}`),
    el('td', { class: 'quiet' }, `since ${time(task.started_on)}`)));
  return [el('h1', {}, 'Activity'), all.length ? table(['What', 'Where', '', 'Done', ''], rows)
    : el('p', { class: 'quiet' }, 'Nothing is running.')];
}

async function replications() {
  refreshLater();
  let docs, jobs;
  try {
    ({ docs } = await get('_scheduler/docs?limit=100'));
    ({ jobs } = await get('_scheduler/jobs?limit=100'));
  } catch (error) {
    if (error.status !== 501) throw error;
    return [el('h1', {}, 'Replications'), message(error.message)];
  }
  // Those that belong to documents are among the jobs, too.
  const others = jobs.filter(job => job.doc_id == null);
  const where = end => (typeof end === 'string' ? end : end?.url ?? '');
  const rows = [...docs, ...others].map(one => el('tr', {},
    el('td', {}, one.doc_id == null ? el('span', { class: 'quiet' }, 'by request')
      : documentLink(one.database ?? '_replicator', one.doc_id)),
    el('td', {}, where(one.source)), el('td', {}, where(one.target)),
    el('td', {}, one.state ?? one.history?.[0]?.type ?? ''),
    el('td', { class: 'quiet' }, one.last_updated ? time(one.last_updated) : '')));
  return [el('h1', {}, 'Replications'), rows.length ? table(['Document', 'From', 'To', 'State', ''], rows)
    : el('p', { class: 'quiet' }, 'There are none.')];
}

// ---- Which view

const views = [
  [/^\/?$/, databases],
  [/^\/db\/([^/]+)$/, database],
  [/^\/new\/([^/]+)$/, newDocument],
  [/^\/doc\/([^/]+)\/([^/]+)$/, oneDocument],
  [/^\/tasks$/, tasks],
  [/^\/replications$/, replications],
];

let shown = 0, timer;

function refreshLater() {
  timer = setTimeout(show, REFRESH_MS);
}

async function view() {
  await readSession();
  const at = new URLSearchParams(location.search);
  const asked = location.pathname.endsWith('/session.html');
  if (session.name === null || asked && target()) return [signIn(session.name === null ? at.get('reason') : 'These rights are not enough here.')];
  const [path, search = ''] = location.hash.slice(1).split('?');
  for (const [pattern, make] of views) {
    const found = pattern.exec(path);
    if (found) return make({ parts: found.slice(1).map(decodeURIComponent), query: new URLSearchParams(search) });
  }
  return [message('There is no such page.'), link('#/', 'Databases')];
}

/** Shows what the address says, unless the address has changed meanwhile. */
async function show() {
  clearTimeout(timer);
  const number = ++shown;
  let content;
  try {
    content = await view();
  } catch (error) {
    content = [message(error.message), link('#/', 'Databases')];
  }
  if (number !== shown) return;
  main.replaceChildren(...content.flat(3).filter(child => child != null && child !== false));
  main.querySelector('[autofocus]')?.focus();
}

addEventListener('hashchange', show);
show();
