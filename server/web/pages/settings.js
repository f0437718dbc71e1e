// A database as a whole: sizes, who may do what, compaction, the end.
import { get, path, post, put, remove } from '../api.js';
import { button, bytes, field, form, h, notice, number, table } from '../html.js';
import { tabs } from './tabs.js';

export async function page({ segments: [db], signal, navigate, restart }) {
  const [info, security, limit] = await Promise.all(
    [path(db), path(db, '_security'), path(db, '_revs_limit')].map(where => get(where, { signal })));
  return [
    ...tabs(db, 'settings'),
    table(['', ''], [
      ['Documents', number(info.doc_count)], ['Deleted', number(info.doc_del_count)],
      ['Size of the file', bytes(info.sizes.file)], ['of it in use', bytes(info.sizes.active)],
      ['Update sequence', h('code', {}, String(info.update_seq).split('-')[0])],
    ]),
    h('h2', {}, 'Who may do what'),
    h('p', {}, 'Members read and write documents, admins also change design documents and this page. Without members, everybody who is signed in is one, or everybody at all if the server does not ask for a user. Names and roles are separated by commas.'),
    form({ className: 'fields', id: 'security' }, async values => {
      await put(path(db, '_security'), { ...security, ...roles(security, values) });
      notice('Saved.');
    }, ['admins', 'members'].flatMap(group => ['names', 'roles'].map(kind =>
      field(`${group}: ${kind}`, `${group}.${kind}`, { value: (security[group]?.[kind] ?? []).join(', ') }))),
    h('button', { className: 'main' }, 'Save')),
    h('h2', {}, 'Revisions remembered for each document'),
    form({ className: 'bar' }, async values => {
      await put(path(db, '_revs_limit'), values.limit);
      notice('Saved.');
    }, field('', 'limit', { type: 'number', min: 1, value: limit, required: true }), h('button', {}, 'Save')),
    h('h2', {}, 'Upkeep'),
    h('div', { className: 'bar' },
      button('Compact', async () => { await post(path(db, '_compact'), {}); notice('Compaction has begun; see Tasks.'); }),
      button('Remove indexes of views that are gone', async () => { await post(path(db, '_view_cleanup'), {}); notice('Done.'); }),
      button('Delete the database', async () => {
        const typed = window.prompt(`All documents of “${db}” will be gone. To delete it, type its name.`);
        if (typed !== db) return;
        await remove(path(db));
        navigate('#/');
      }, 'grave')),
    h('div', { className: 'bar' }, button('Load again', restart)),
  ];
}

/** The groups with what the form says; what else they had stays. */
function roles(security, values) {
  const list = text => text.split(',').map(name => name.trim()).filter(Boolean);
  const group = name => ({ ...security[name], names: list(values[`${name}.names`]), roles: list(values[`${name}.roles`]) });
  return { admins: group('admins'), members: group('members') };
}
