// The newest changes of a database, and those that come while one looks.
import { get, path, query } from '../api.js';
import { h, table, to } from '../html.js';
import { tabs } from './tabs.js';

const SHOWN_ROWS = 100;
/** How long the server may wait for a change before it answers that there was none, in ms. */
const WAIT_MS = 50_000;
/** Pause after a failed request, in ms. */
const PAUSE_MS = 5_000;

export async function page({ segments: [db], signal }) {
  const first = await get(path(db, '_changes') + query({ descending: true, limit: SHOWN_ROWS }), { signal });
  let rows = first.results;
  const list = h('div', {}, listing(db, rows));
  // Of a descending listing, the newest change is the first.
  follow(db, rows[0]?.seq ?? first.last_seq, signal, news => {
    rows = [...news.reverse(), ...rows.filter(row => !news.some(({ id }) => id === row.id))].slice(0, SHOWN_ROWS);
    list.replaceChildren(listing(db, rows));
  });
  return [...tabs(db, 'changes'), h('p', {}, 'Newest first; new ones appear by themselves.'), list];
}

const listing = (db, rows) => table(['Sequence', 'Id', 'Revisions', ''], rows.map(row => [
  h('code', {}, row.seq.split('-')[0]),
  row.deleted ? row.id : h('a', { href: to('db', db, 'doc', row.id) }, row.id),
  h('code', {}, row.changes.map(({ rev }) => rev).join(' ')),
  row.deleted ? 'deleted' : '',
]));

async function follow(db, since, signal, arrived) {
  while (!signal.aborted) {
    try {
      const news = await get(path(db, '_changes') + query({ feed: 'longpoll', since, timeout: WAIT_MS }), { signal });
      since = news.last_seq;
      if (news.results.length && !signal.aborted) arrived(news.results);
    } catch (failure) {
      if (signal.aborted) return;
      await new Promise(resume => setTimeout(resume, PAUSE_MS));
    }
  }
}
