// The head of all pages of a database.
import { h, to } from '../html.js';

const TABS = [['Documents', ''], ['Query', 'find'], ['Changes', 'changes'], ['Settings', 'settings']];

/** Name and tabs; `at` is the tab that is shown. */
export const tabs = (db, at) => [
  h('h1', {}, h('a', { href: to('db', db) }, db)),
  h('div', { className: 'tabs' }, TABS.map(([text, tab]) =>
    h('a', { href: tab ? to('db', db, tab) : to('db', db), 'aria-current': tab === at && 'page' }, text))),
];
