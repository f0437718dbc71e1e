// Queries by selector, and the indexes they may use.
import { get, path, post, remove } from '../api.js';
import { button, form, h, number, sure, table, to } from '../html.js';
import { parse } from '../json.js';
import { tabs } from './tabs.js';

const FIRST_QUERY = '{\n  "selector": { "_id": { "$gt": null } },\n  "limit": 25\n}';
const FIRST_INDEX = '{\n  "index": { "fields": ["name"] },\n  "name": "by-name",\n  "type": "json"\n}';

export async function page({ segments: [db], signal, restart }) {
  const { indexes } = await get(path(db, '_index'), { signal });
  const result = h('section', { id: 'result' });
  const show = (...parts) => result.replaceChildren(h('div', {}, parts));
  const query = h('textarea', { className: 'low', name: 'query', value: FIRST_QUERY, spellcheck: false, 'aria-label': 'The query as JSON' });
  const ask = () => ({ execution_stats: true, ...parse(query.value, 'The query') });
  return [
    ...tabs(db, 'find'),
    query,
    h('div', { className: 'bar' },
      button('Run', async () => show(...found(db, await post(path(db, '_find'), ask(), { signal }))), 'main'),
      button('Explain', async () => show(h('pre', {}, JSON.stringify(await post(path(db, '_explain'), ask(), { signal }), null, 2))))),
    result,
    h('h2', {}, 'Indexes'),
    table(['Name', 'Design document', 'Definition', ''], indexes.map(index => [
      index.name, index.ddoc ?? '', h('code', {}, JSON.stringify(index.def)),
      index.ddoc && button('Remove', async () => {
        if (!sure(`Remove the index “${index.name}”?`)) return;
        await remove(path(db, '_index', index.ddoc.slice('_design/'.length), index.type, index.name));
        await restart();
      }),
    ].map(cell => cell || ''))),
    h('h2', {}, 'New index'),
    form({}, async ({ index }) => { await post(path(db, '_index'), parse(index, 'The index')); await restart(); },
      h('textarea', { className: 'low', name: 'index', value: FIRST_INDEX, spellcheck: false, 'aria-label': 'The index as JSON' }),
      h('div', { className: 'bar' }, h('button', {}, 'Create'))),
  ];
}

function found(db, { docs, warning, execution_stats: stats }) {
  return [
    warning && h('p', { className: 'warn' }, warning),
    h('p', {}, `${number(docs.length)} documents; ${number(stats.total_docs_examined)} documents and ${number(stats.total_keys_examined)} keys read in ${number(Math.round(stats.execution_time_ms))} ms`),
    table(['Id', 'Document'], docs.map(doc => [
      doc._id === undefined ? '' : h('a', { href: to('db', db, 'doc', doc._id) }, doc._id), h('code', {}, JSON.stringify(doc)),
    ]), 'No document matches.'),
  ];
}
