// One document: its text, its conflicts, its attachments.
import { Refusal, docPath, path, post, query, remove, root, send } from '../api.js';
import { button, bytes, h, notice, sure, table, to } from '../html.js';
import { members, object, parse, pretty } from '../json.js';
import { difference } from '../lines.js';
import { tabs } from './tabs.js';

/** Members that the server adds to a reading and that are not part of the document. */
const ADDED = ['_conflicts', '_deleted_conflicts', '_revisions', '_revs_info', '_local_seq'];

export async function page({ segments: [db, , id], signal, navigate, restart }) {
  if (id === undefined) return create(db, navigate);
  const text = await send('GET', docPath(db, id) + query({ conflicts: true }), undefined, { signal });
  const found = members(text);
  const conflicts = found.has('_conflicts') ? JSON.parse(found.get('_conflicts')) : [];
  ADDED.forEach(name => found.delete(name));
  const rev = JSON.parse(found.get('_rev') ?? 'null');
  const editor = area(object(found));
  const gone = () => navigate(to('db', db));
  return [
    ...tabs(db, ''),
    h('div', { className: 'bar' },
      h('h1', {}, id),
      button('Save', () => save(db, id, editor.value, conflicts, restart), 'main'),
      button('Copy', () => copy(db, id, navigate)),
      button('Delete', async () => {
        if (!sure(`Delete “${id}”?`)) return;
        await remove(docPath(db, id) + query({ rev }));
        gone();
      }, 'grave')),
    conflicts.length > 0 && h('p', { className: 'warn' },
      `${conflicts.length + 1} revisions are in conflict; the text below is the winner. Saving keeps your text and closes the others.`),
    editor,
    await besides(db, id, rev, conflicts, object(found), restart, signal),
    attachments(db, id, rev, found.get('_attachments'), restart),
  ].filter(Boolean);
}

const area = text => h('textarea', { spellcheck: false, value: pretty(text), 'aria-label': 'The document as JSON', id: 'editor' });

function create(db, navigate) {
  const editor = area('{"_id":""}');
  return [
    ...tabs(db, ''),
    h('div', { className: 'bar' }, h('h1', {}, 'New document'), button('Save', async () => {
      const found = members(checked(editor.value));
      // Without an id, the server makes one.
      if (found.get('_id') === '""') found.delete('_id');
      const { id } = await post(path(db), object(found));
      navigate(to('db', db, 'doc', id));
    }, 'main')),
    editor,
  ];
}

/** The text, if it is an object in JSON. */
function checked(text) {
  const value = parse(text, 'The document');
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('A document is an object: { … }');
  return text;
}

/** Stores the text as the new winner; with conflicts, in one request that ends the other branches, too. */
async function save(db, id, text, conflicts, restart) {
  if (JSON.parse(checked(text))._id !== id) throw new Error('The id of a document cannot be changed. Copy it instead.');
  try {
    if (conflicts.length) await settle(db, [text, ...endings(id, conflicts)]);
    else await send('PUT', docPath(db, id), text);
  } catch (failure) {
    if (failure instanceof Refusal && failure.status === 409) {
      throw new Error('Somebody else saved it meanwhile. Copy what you changed, load the page again, and merge.');
    }
    throw failure;
  }
  notice('Saved.');
  await restart();
}

const endings = (id, revs) => revs.map(_rev => JSON.stringify({ _id: id, _rev, _deleted: true }));

/** Writes several revisions of one document, each the text of a document. */
async function settle(db, texts) {
  const rows = JSON.parse(await send('POST', path(db, '_bulk_docs'), `{"docs":[${texts.join(',')}]}`));
  const refused = rows.find(row => row.error);
  if (refused) throw new Refusal(refused.error === 'conflict' ? 409 : 403, refused.error, refused.reason);
}

async function copy(db, id, navigate) {
  const name = window.prompt('Id of the copy', `${id}-copy`);
  if (!name) return;
  const text = await send('GET', docPath(db, id) + query({ attachments: true }));
  const found = members(text);
  found.delete('_rev');
  found.set('_id', JSON.stringify(name));
  await send('PUT', docPath(db, name), object(found));
  navigate(to('db', db, 'doc', name));
}

/** The other leaves beside the winner, each with what differs. */
async function besides(db, id, rev, conflicts, winner, restart, signal) {
  if (!conflicts.length) return null;
  const keep = kept => button('Keep this one', async () => {
    await settle(db, endings(id, [rev, ...conflicts].filter(other => other !== kept)));
    notice('The conflict is settled.');
    await restart();
  });
  const others = await Promise.all(conflicts.map(other => send('GET', docPath(db, id) + query({ rev: other }), undefined, { signal })));
  return h('section', { id: 'conflicts' },
    h('h2', {}, 'In conflict'),
    h('div', { className: 'bar' }, h('span', { className: 'mono' }, rev), 'the winner', keep(rev)),
    others.map((text, at) => [
      h('div', { className: 'bar' }, h('span', { className: 'mono' }, conflicts[at]), keep(conflicts[at])),
      h('pre', { className: 'diff' }, difference(pretty(winner), pretty(text)).map(([kind, line]) =>
        h('span', { className: kind }, `${{ same: ' ', added: '+', removed: '−' }[kind]} ${line}`))),
    ]));
}

function attachments(db, id, rev, text, restart) {
  const all = Object.entries(text ? JSON.parse(text) : {});
  const at = name => docPath(db, id, name);
  const file = h('input', { type: 'file', 'aria-label': 'A file to attach' });
  return h('section', {},
    h('h2', {}, 'Attachments'),
    table(['Name', 'Type', '#Size', ''], all.map(([name, stub]) => [
      h('a', { href: new URL(at(name), root).href, target: '_blank', rel: 'noopener' }, name), stub.content_type, bytes(stub.length),
      button('Remove', async () => {
        if (!sure(`Remove “${name}”?`)) return;
        await remove(at(name) + query({ rev }));
        await restart();
      }),
    ]), 'None.'),
    h('div', { className: 'bar' }, file, button('Attach', async () => {
      const [chosen] = file.files;
      if (!chosen) throw new Error('Choose a file first.');
      await send('PUT', at(chosen.name) + query({ rev }), chosen, { type: chosen.type || 'application/octet-stream' });
      await restart();
    })));
}

