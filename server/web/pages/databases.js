// All databases that who is signed in may see, page by page.
import { get, path, post, put, query } from '../api.js';
import { bytes, field, form, h, number, table, to } from '../html.js';

const PAGE_ROWS = 50;

export async function page({ asked, signal, session, navigate }) {
  const startkey = asked.get('from') ?? undefined;
  const all = await list(startkey, signal);
  if (!all) return [h('h1', {}, 'Databases'), h('p', {}, 'Only administrators may list them. Which one do you want to see?'), open(navigate)];
  const names = all.slice(0, PAGE_ROWS), next = all[PAGE_ROWS];
  const infos = names.length ? await info(names, signal) : [];
  return [
    h('div', { className: 'bar' },
      h('h1', {}, 'Databases'),
      form({ className: 'bar push' }, ({ from }) => navigate('#/?from=' + encodeURIComponent(from)),
        field('', 'from', { placeholder: 'from this name on', value: startkey ?? '' }), h('button', {}, 'Go')),
      session.userCtx.roles.includes('_admin') && form({ className: 'bar' }, async ({ name }) => {
        await put(path(name));
        navigate(to('db', name));
      }, field('', 'name', { placeholder: 'new database', required: true }), h('button', { className: 'main' }, 'Create'))),
    table(['Name', '#Documents', '#Deleted', '#Size', '#On disk'], infos.map(({ key, info: of }) => [
      h('a', { href: to('db', key) }, key),
      number(of?.doc_count), number(of?.doc_del_count), bytes(of?.sizes.active), bytes(of?.sizes.file),
    ]), 'No databases yet. The first is made by its name, above.'),
    h('div', { className: 'bar' },
      startkey && h('a', { href: '#/' }, 'First page'),
      next && h('a', { className: 'push', href: '#/?from=' + encodeURIComponent(next) }, 'More')),
  ];
}

/** Names from this one on; `null` if who is signed in may not list them. */
async function list(startkey, signal) {
  try {
    return await get('_all_dbs' + query({ limit: PAGE_ROWS + 1, startkey: startkey && JSON.stringify(startkey) }), { signal });
  } catch (failure) {
    if (failure.status !== 401 && failure.status !== 403) throw failure;
    return null;
  }
}

const open = navigate => form({ className: 'bar' }, ({ name }) => navigate(to('db', name)),
  field('', 'name', { placeholder: 'name of the database', required: true }), h('button', { className: 'main' }, 'Open'));

/** What is known of databases; a database that one may not read has only its name. */
async function info(names, signal) {
  try {
    return await post('_dbs_info', { keys: names }, { signal });
  } catch (failure) {
    if (failure.status !== 401 && failure.status !== 403) throw failure;
    return names.map(key => ({ key }));
  }
}
