// The frame: who is signed in, where one can go, and which page the address shows.
import { get, remove } from './api.js';
import { button, h } from './html.js';
import { signIn } from './sign-in.js';
import * as changes from './pages/changes.js';
import * as config from './pages/config.js';
import * as databases from './pages/databases.js';
import * as document_ from './pages/document.js';
import * as documents from './pages/documents.js';
import * as find from './pages/find.js';
import * as replication from './pages/replication.js';
import * as settings from './pages/settings.js';
import * as tasks from './pages/tasks.js';
import * as users from './pages/users.js';

/** Pages by the first segment of the address, and those of a database by its third: `#/db/NAME/find`. */
const PAGES = { '': databases, replication, tasks, users, config };
const OF_DATABASE = { '': documents, doc: document_, view: documents, find, changes, settings };
const NAVIGATION = [['Databases', ''], ['Replication', 'replication'], ['Tasks', 'tasks'], ['Users', 'users'], ['Configuration', 'config']];

/** Ends what the page before was doing: its requests and its timers. */
let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [address, search = ''] = location.hash.slice(1).split('?');
  const segments = address.split('/').slice(1).map(decodeURIComponent);
  const session = await get('_session', { signal });
  frame(session, segments);
  const page = document.getElementById('page');
  if (!session.userCtx.name && !session.userCtx.roles.length) {
    return page.replaceChildren(h('div', {}, h('h1', {}, 'Sign in'), signIn(restart)));
  }
  const [first = '', ...rest] = segments;
  const isDatabase = first === 'db' && rest.length;
  const shown = isDatabase ? OF_DATABASE[rest[1] ?? ''] : PAGES[first];
  const asked = new URLSearchParams(search);
  const here = { segments: rest, asked, signal, session, restart, navigate };
  if (!shown) return page.replaceChildren(h('h1', {}, 'There is no such page.'));
  document.title = `${isDatabase ? rest[0] : NAVIGATION.find(([, at]) => at === first)[0]} · Settee`;
  const parts = await shown.page(here);
  if (!signal.aborted) page.replaceChildren(h('div', {}, parts));
}

function frame({ userCtx }, [first = '']) {
  const isAdmin = userCtx.roles.includes('_admin');
  document.getElementById('nav').replaceChildren(...(userCtx.name || isAdmin ? NAVIGATION : [])
    .filter(([, at]) => isAdmin || at === '')
    .map(([text, at]) => h('a', { href: `#/${at}`, 'aria-current': (at === first || (at === '' && first === 'db')) && 'page' }, text)));
  document.getElementById('who').replaceChildren(...(userCtx.name
    ? [h('span', { className: 'faint' }, userCtx.name, ' '), button('Sign out', async () => { await remove('_session'); await restart(); })]
    : []));
}

/** Shows the page of the address anew. */
const restart = () => show().catch(failed);

/** Goes to another page, or shows this one anew if it is the same. */
function navigate(hash) {
  if (location.hash === hash) return restart();
  location.hash = hash;
  return undefined;
}

function failed(failure) {
  if (failure.name === 'AbortError') return;
  const hint = failure.status === 401 || failure.status === 403 ? ' You may have to sign in as somebody else.' : '';
  document.getElementById('page').replaceChildren(h('div', {}, h('h1', {}, 'This did not work'), h('p', { className: 'bad' }, failure.message + hint)));
}

window.addEventListener('hashchange', restart);
restart();
