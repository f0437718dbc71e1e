// The configuration of the server.
import { get, path, put, remove } from '../api.js';
import { button, field, form, h, notice, sure, table } from '../html.js';

const CONFIG = ['_node', '_local', '_config'];

export async function page({ signal, restart }) {
  const all = await get(path(...CONFIG), { signal });
  const set = async (section, key, value) => {
    await put(path(...CONFIG, section, key), JSON.stringify(value));
    notice(`[${section}] ${key} is set, and kept.`);
    await restart();
  };
  return [
    h('h1', {}, 'Configuration'),
    h('p', {}, 'Changes take effect at once and are written to the last ini file.'),
    form({ className: 'bar', id: 'new-option' }, ({ section, key, value }) => set(section, key, value),
      field('', 'section', { placeholder: 'section', required: true }), field('', 'key', { placeholder: 'option', required: true }),
      field('', 'value', { placeholder: 'value' }), h('button', { className: 'main' }, 'Set')),
    Object.keys(all).sort().map(section => [
      h('h2', {}, `[${section}]`),
      table(['Option', 'Value', ''], Object.entries(all[section]).sort().map(([key, value]) => [
        key, h('code', {}, value),
        h('div', { className: 'bar' },
          button('Change', async () => {
            const next = window.prompt(`[${section}] ${key}`, value);
            if (next !== null && next !== value) await set(section, key, next);
          }),
          button('Reset', async () => {
            if (!sure(`Take [${section}] ${key} back to its default?`)) return;
            await remove(path(...CONFIG, section, key));
            await restart();
          })),
      ])),
    ]),
  ].flat(Infinity);
}
