// The documents of a database or the rows of a view, page by page.
import { docPath, get, path, query } from '../api.js';
import { check, field, form, h, number, table, to } from '../html.js';
import { parse } from '../json.js';
import { tabs } from './tabs.js';

const PAGE_ROWS = 25;
/** Characters of a row that are shown. */
const PREVIEW_CHARS = 220;

export async function page({ segments: [db, , design, view], asked, signal, navigate }) {
  const here = design === undefined ? to('db', db) : to('db', db, 'view', design, view);
  const where = design === undefined ? path(db, '_all_docs') : docPath(db, `_design/${design}`, '_view', view);
  const skip = Number(asked.get('skip') ?? 0);
  const options = choices(asked, design !== undefined);
  const [rows, designs] = await Promise.all([
    get(where + query({ ...options, skip, limit: PAGE_ROWS }), { signal }),
    get(path(db, '_design_docs') + query({ include_docs: true, limit: 200 }), { signal }),
  ]);
  const link = at => `${here}?${new URLSearchParams([...[...asked].filter(([name]) => name !== 'skip'), ['skip', at]])}`;
  return [
    ...tabs(db, ''),
    h('div', { className: 'bar' },
      h('a', { href: to('db', db), 'aria-current': design === undefined && 'page' }, 'All documents'),
      designs.rows.map(({ doc }) => Object.keys(doc?.views ?? {}).filter(() => doc.language !== 'query').map(name =>
        h('a', { href: to('db', db, 'view', doc._id.slice('_design/'.length), name) }, `${doc._id.slice('_design/'.length)}/${name}`))),
      h('a', { className: 'push', href: to('db', db, 'doc') }, 'New document')),
    search(asked, design !== undefined, values => navigate(`${here}?${new URLSearchParams(values)}`)),
    rows.rows.length && 'id' in rows.rows[0] || design === undefined ? listing(db, rows.rows, design === undefined) : reduced(rows.rows),
    h('div', { className: 'bar' },
      skip > 0 && h('a', { href: link(Math.max(0, skip - PAGE_ROWS)) }, 'Back'),
      h('span', { className: 'faint' }, position(skip, rows)),
      rows.rows.length === PAGE_ROWS && h('a', { className: 'push', href: link(skip + PAGE_ROWS) }, 'More')),
  ].flat();
}

const position = (skip, { rows, total_rows: total }) => rows.length
  ? `${number(skip + 1)} – ${number(skip + rows.length)}${total === undefined ? '' : ` of ${number(total)}`}` : '';

/** The parameters of the request, from those of the page. */
function choices(asked, isView) {
  const key = name => asked.get(name) ? json(asked.get(name), isView) : undefined;
  const isReduced = isView && asked.get('group');
  return {
    startkey: key('from'),
    endkey: key('to'),
    descending: asked.get('descending') ? true : undefined,
    reduce: isView ? Boolean(isReduced) : undefined,
    group: isReduced ? true : undefined,
    include_docs: isView ? undefined : true,
  };
}

/** Keys of documents are text, those of views JSON. */
const json = (text, isView) => isView ? JSON.stringify(parse(text, 'A key')) : JSON.stringify(text);

const search = (asked, isView, go) => form({ className: 'bar', id: 'search' }, values => {
  if (isView) Object.entries(values).forEach(([name, text]) => ['from', 'to'].includes(name) && text && parse(text, 'A key'));
  return go(Object.fromEntries(Object.entries(values).filter(([, text]) => text)));
},
field('from', 'from', { value: asked.get('from') ?? '', placeholder: isView ? '["a",1]' : 'id' }),
field('to', 'to', { value: asked.get('to') ?? '', placeholder: isView ? '["a",{}]' : 'id' }),
check('descending', 'descending', Boolean(asked.get('descending'))),
isView && check('reduced, by key', 'group', Boolean(asked.get('group'))),
h('button', {}, 'Go'));

const listing = (db, rows, isDocuments) => table(isDocuments ? ['Id', 'Revision', 'Content'] : ['Key', 'Id', 'Value'], rows.map(row => {
  const link = h('a', { href: to('db', db, 'doc', row.id) }, row.id);
  return isDocuments ? [link, h('span', { className: 'faint mono' }, short(row.value.rev)), preview(content(row.doc))]
    : [preview(row.key), link, preview(row.value)];
}), 'Nothing here.');

const reduced = rows => table(['Key', 'Value'], rows.map(row => [preview(row.key), preview(row.value)]), 'Nothing here.');

const short = rev => rev.replace(/^(\d+-.{6}).*/, '$1…');

/** Members that are not in the other columns already. */
function content(doc) {
  const { _id, _rev, ...rest } = doc ?? {};
  return rest;
}

function preview(value) {
  const text = JSON.stringify(value);
  return h('code', {}, text.length > PREVIEW_CHARS ? `${text.slice(0, PREVIEW_CHARS)}…` : text);
}
