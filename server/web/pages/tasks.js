// What the server does in the background.
import { get } from '../api.js';
import { h, number, table } from '../html.js';
import { again } from './again.js';

const NAMES = {
  database_compaction: 'Compaction', view_compaction: 'Compaction of an index', indexer: 'Building an index', replication: 'Replication',
};

export async function page({ signal }) {
  const list = h('div');
  await again(list, () => get('_active_tasks', { signal }), listing, signal);
  return [h('h1', {}, 'Tasks'), list];
}

const listing = tasks => table(['What', 'Where', 'Progress', '#Done', 'Since'], tasks.map(task => [
  NAMES[task.type] ?? task.type,
  task.type === 'replication' ? `${task.source} → ${task.target}` : [task.database, task.design_document].filter(Boolean).join(' '),
  typeof task.progress === 'number' ? [h('progress', { max: 100, value: task.progress }), ` ${task.progress} %`] : '',
  task.type === 'replication' ? `${number(task.docs_written)} documents` : `${number(task.changes_done)} of ${number(task.total_changes)}`,
  new Date(task.started_on * 1000).toLocaleString(),
]), 'Nothing is running.');
