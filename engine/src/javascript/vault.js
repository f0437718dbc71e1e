// Runs in the realm of documents, before anything else. Documents are parsed there and nothing else is done
// there, so its built-ins are frozen: what one function does to them can reach no other function and no
// other document. The constructors of functions are taken away, because with them a function could
// reach this realm's globals by way of a document.
(function () {
  'use strict';
  const { freeze, getPrototypeOf, keys } = Object;
  const host = {
    functions: [],
    rows: [],
    drives: [],
    // Not recursive: documents are nested deeper than the stack allows calls to be.
    freezeDeep(root) {
      const open = [root];
      while (open.length > 0) {
        const value = open.pop();
        if (typeof value !== 'object' || value === null) continue;
        freeze(value);
        const names = keys(value);
        for (let i = 0; i < names.length; i++) {
          const inner = value[names[i]];
          if (typeof inner === 'object' && inner !== null) open.push(inner);
        }
      }
    },
  };
  const makers = [
    function () {}, function* () {}, async function () {}, async function* () {},
  ].map(getPrototypeOf);
  for (const maker of makers) delete maker.constructor;
  const seen = new Set();
  const open = [globalThis, ...makers, getPrototypeOf([][Symbol.iterator]()),
    getPrototypeOf(''[Symbol.iterator]()), getPrototypeOf(new Map().entries()),
    getPrototypeOf(new Set().entries()), getPrototypeOf(/x/[Symbol.matchAll](''))];
  while (open.length > 0) {
    const value = open.pop();
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null) continue;
    if (seen.has(value)) continue;
    seen.add(value);
    open.push(getPrototypeOf(value));
    for (const name of Reflect.ownKeys(value)) {
      const property = Reflect.getOwnPropertyDescriptor(value, name);
      open.push(property.value, property.get, property.set);
    }
  }
  globalThis.host = host;
  for (const value of seen) freeze(value);
})();
