// Replications: those that documents of _replicator ask for, and how they are.
import { docPath, get, path, post, put, query, remove } from '../api.js';
import { button, check, field, form, h, notice, number, sure, table, to } from '../html.js';
import { again } from './again.js';

const DB = '_replicator';
const SHOWN_ROWS = 200;

export async function page({ signal, restart }) {
  const list = h('div', { id: 'replications' });
  await again(list, () => get('_scheduler/docs' + query({ limit: SHOWN_ROWS }), { signal }), answer => listing(answer, restart), signal);
  return [
    h('h1', {}, 'Replication'),
    list,
    h('h2', {}, 'New replication'),
    h('p', {}, 'Source and target are addresses such as https://user:password@example.org/database. The order is kept as a document in _replicator and survives restarts.'),
    form({ className: 'fields', id: 'new-replication' }, async ({ id, source, target, continuous, create }) => {
      const order = { source, target, continuous: Boolean(continuous), create_target: Boolean(create) };
      await (id ? put(docPath(DB, id), order) : post(path(DB), order));
      notice('The replication is scheduled.');
      await restart();
    },
    field('Source', 'source', { required: true, type: 'url' }),
    field('Target', 'target', { required: true, type: 'url' }),
    field('Name (optional)', 'id'),
    check('continuous', 'continuous', true),
    check('create the target', 'create'),
    h('button', { className: 'main' }, 'Start')),
  ];
}

const TONE = { running: 'good', completed: 'good', crashing: 'bad', failed: 'bad', error: 'bad' };

const listing = ({ docs }, restart) => table(['Name', 'From, to', 'State', '#Read', '#Written', '#Refused', '#Pending', ''], docs.map(doc => [
  h('a', { href: to('db', doc.database, 'doc', doc.doc_id) }, doc.doc_id),
  [doc.source, h('br'), doc.target],
  [h('span', { className: `state ${TONE[doc.state] ?? ''}` }, doc.state), doc.info?.error && h('div', { className: 'bad' }, doc.info.error)].filter(Boolean),
  ...['docs_read', 'docs_written', 'doc_write_failures', 'changes_pending'].map(name => number(doc.info?.[name])),
  button('Stop', async () => {
    if (!sure(`Stop the replication “${doc.doc_id}” and forget it?`)) return;
    const { _rev: rev } = await get(docPath(doc.database, doc.doc_id));
    await remove(docPath(doc.database, doc.doc_id) + query({ rev }));
    await restart();
  }),
]), 'None yet.');
