// Elements, made of text and of other elements, never of markup.

/**
 * Makes an element: `h('a', { href, onclick }, 'text', child, …)`. Names with a dash and `hidden`-like flags are
 * attributes, the others properties. Children that are null, undefined or false are left out.
 */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key in element && !key.includes('-')) element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

/** A link to another of these pages; each segment is encoded. */
export const to = (...segments) => '#/' + segments.map(encodeURIComponent).join('/');

/** A button that cannot be pressed again while it is at work, and shows what went wrong. */
export const button = (text, act, kind = '') => h('button', {
  type: 'button', className: kind, onclick: event => busy(event.currentTarget, act),
}, text);

/** A form whose `submit` gets its values by name. */
export const form = (properties, submit, ...children) => h('form', {
  ...properties,
  onsubmit: event => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.currentTarget));
    return busy(event.submitter ?? event.currentTarget, () => submit(values));
  },
}, ...children);

async function busy(element, act) {
  element.disabled = true;
  try { await act(); } catch (failure) { notice(failure.message, true); } finally { element.disabled = false; }
}

/** Shows a message for some seconds. */
export function notice(text, isBad = false) {
  const shown = h('div', { className: isBad ? 'bad' : '' }, text);
  document.getElementById('notices').append(shown);
  setTimeout(() => shown.remove(), isBad ? 12_000 : 4_000);
}

/** A labelled input; one without a label is named by its placeholder. */
export const field = (label, name, properties = {}) => label
  ? h('label', {}, label, h('input', { name, ...properties }))
  : h('input', { name, 'aria-label': properties.placeholder ?? name, ...properties });

export const check = (label, name, checked = false) =>
  h('label', { className: 'inline' }, h('input', { type: 'checkbox', name, checked }), label);

/** A table; a heading that begins with `#` is over numbers. A row is a list of cells, or an element. */
export function table(headings, rows, empty = 'Nothing here yet.') {
  if (!rows.length) return h('p', {}, empty);
  const isNumber = headings.map(heading => heading.startsWith('#'));
  const kind = place => isNumber[place] ? 'number' : '';
  return h('table', {},
    headings.some(Boolean) && h('thead', {}, h('tr', {}, headings.map((heading, at) => h('th', { className: kind(at) }, heading.replace(/^#/, ''))))),
    h('tbody', {}, rows.map(cells => cells instanceof Element ? cells
      : h('tr', {}, cells.map((cell, at) => h('td', { className: kind(at) }, cell))))));
}

export const number = value => typeof value === 'number' ? value.toLocaleString('en') : '–';

/** 1.5 MiB */
export function bytes(value) {
  if (typeof value !== 'number') return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${value.toLocaleString('en', { maximumFractionDigits: at ? 1 : 0 })} ${units[at]}`;
}

/** Asks before what cannot be undone; throws nothing and answers false if the person thinks better of it. */
export const sure = question => window.confirm(question);
