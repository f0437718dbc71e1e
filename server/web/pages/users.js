// Accounts.
import { docPath, get, path, put, query, remove } from '../api.js';
import { button, field, form, h, notice, sure, table, to } from '../html.js';

const DB = '_users', PREFIX = 'org.couchdb.user:';
const SHOWN_ROWS = 100;

export async function page({ asked, signal, restart, navigate }) {
  const from = asked.get('from') ?? '';
  const rows = await get(path(DB, '_all_docs') + query({
    include_docs: true, limit: SHOWN_ROWS, startkey: JSON.stringify(PREFIX + from), endkey: JSON.stringify(`${PREFIX}\uffff`),
  }), { signal });
  return [
    h('div', { className: 'bar' }, h('h1', {}, 'Users'),
      form({ className: 'bar push' }, values => navigate('#/users?from=' + encodeURIComponent(values.from)),
        field('', 'from', { placeholder: 'from this name on', value: from }), h('button', {}, 'Go'))),
    table(['Name', 'Roles', ''], rows.rows.map(({ doc }) => [
      h('a', { href: to('db', DB, 'doc', doc._id) }, doc.name), (doc.roles ?? []).join(', '),
      h('div', { className: 'bar' },
        button('Set a password', () => password(doc)),
        button('Delete', async () => {
          if (!sure(`Delete the user “${doc.name}”?`)) return;
          await remove(docPath(DB, doc._id) + query({ rev: doc._rev }));
          await restart();
        }, 'grave')),
    ]), 'No users yet. Administrators of the server stand in its configuration, not here.'),
    h('h2', {}, 'New user'),
    form({ className: 'fields', id: 'new-user' }, async ({ name, password: word, roles }) => {
      const list = roles.split(',').map(role => role.trim()).filter(Boolean);
      await put(docPath(DB, PREFIX + name), { name, password: word, roles: list, type: 'user' });
      notice(`${name} can sign in now.`);
      await restart();
    },
    field('Name', 'name', { required: true, autocomplete: 'off' }),
    field('Password', 'password', { required: true, type: 'password', autocomplete: 'new-password' }),
    field('Roles, separated by commas', 'roles'),
    h('button', { className: 'main' }, 'Create')),
  ];
}

async function password(doc) {
  const word = window.prompt(`New password of ${doc.name}`);
  if (!word) return;
  const now = await get(docPath(DB, doc._id));
  await put(docPath(DB, doc._id), { ...now, password: word });
  notice('The password is set.');
}
