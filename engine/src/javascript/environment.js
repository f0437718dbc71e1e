// Runs once in the realm of each function, and gives it what CouchDB's functions find there.
// `design` is the design document, `rows` takes what is emitted (key, value, key, …), `outside` are the ways
// out: `log` takes a message, `begin` the start of a list's answer, `chunk` a piece of it, and `next` gives
// the text of a list's next row. The value is an object with one method for each kind of function that
// is more than a call.
(function (design, rows, outside) {
  'use strict';
  const { defineProperty } = Object;
  const { isArray } = Array;
  const { stringify } = JSON;
  const evaluate = globalThis.eval;
  const globals = globalThis;
  let emitted = 0;

  function define(name, value) {
    defineProperty(globals, name, { value, writable: true, configurable: true, enumerable: false });
  }

  for (const name of ['Atomics', 'SharedArrayBuffer']) delete globals[name];

  define('emit', function emit(key, value) {
    if (rows.length === 0) emitted = 0;
    rows[emitted] = key;
    rows[emitted + 1] = value;
    emitted += 2;
  });
  define('sum', function sum(values) {
    let total = 0;
    for (const at in values) total += values[at];
    return total;
  });
  define('toJSON', stringify);
  define('isArray', isArray);
  define('log', function log(message) {
    outside.log(typeof message === 'string' ? message : String(stringify(message)));
  });

  // CommonJS. A module is a string somewhere in the design document; `path` are the names that lead to it.
  const modules = new Map();

  function invalid(reason) {
    return ['error', 'invalid_require_path', reason];
  }

  function resolve(name, base) {
    const relative = name.startsWith('./') || name.startsWith('../') || name === '.' || name === '..';
    const path = relative ? base.slice() : [];
    for (const part of name.split('/')) {
      if (part === '.' || part === '') continue;
      if (part !== '..') path.push(part);
      else if (path.length === 0) throw invalid('Object has no parent ' + stringify(name));
      else path.pop();
    }
    return path;
  }

  function lookUp(path, name) {
    let value = design;
    for (const part of path) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) {
        throw invalid('Object has no property ' + stringify(part) + '. ' + stringify(name));
      }
      value = value[part];
    }
    return value;
  }

  function requireFrom(base, parent) {
    return function require(name) {
      name = String(name);
      const path = resolve(name, base);
      const id = path.join('/');
      const known = modules.get(id);
      if (known) return known.exports;
      const source = lookUp(path, name);
      if (typeof source !== 'string') {
        throw invalid('Must require a JavaScript string, not: ' + typeof source);
      }
      const module = { id, parent, exports: {} };
      modules.set(id, module);
      try {
        const run = evaluate('(function (module, exports, require) { ' + source + '\n })');
        run.call(module.exports, module, module.exports, requireFrom(path.slice(0, -1), module));
      } catch (error) {
        modules.delete(id);
        if (isArray(error)) throw error;
        throw ['error', 'compilation_error',
          'Module require(\'' + name + '\') raised error ' + String(error)];
      }
      return module.exports;
    };
  }

  define('require', requireFrom([], undefined));

  // What `provides` knows by name.
  const types = new Map(Object.entries({
    all: ['*/*'],
    text: ['text/plain; charset=utf-8', 'txt'],
    html: ['text/html; charset=utf-8'],
    xhtml: ['application/xhtml+xml', 'xhtml'],
    xml: ['application/xml', 'text/xml', 'application/x-xml'],
    js: ['text/javascript', 'application/javascript', 'application/x-javascript'],
    css: ['text/css'],
    ics: ['text/calendar'],
    csv: ['text/csv'],
    rss: ['application/rss+xml'],
    atom: ['application/atom+xml'],
    yaml: ['application/x-yaml', 'text/yaml'],
    multipart_form: ['multipart/form-data'],
    url_encoded_form: ['application/x-www-form-urlencoded'],
    json: ['application/json', 'text/x-json'],
  }));
  let provided = [];
  let chosenType = null;

  define('registerType', function registerType(name, ...known) { types.set(name, known); });
  define('provides', function provides(name, make) { provided.push([name, make]); });

  function essence(type) {
    const [full, ...parameters] = type.split(';').map((part) => part.trim().toLowerCase());
    const [major, minor] = full === '*' ? ['*', '*'] : full.split('/');
    const quality = parameters.find((parameter) => parameter.startsWith('q='));
    const value = quality === undefined ? 1 : Number(quality.slice(2));
    return { major, minor: minor ?? '*', quality: value >= 0 && value <= 1 ? value : 1 };
  }

  // How well a type fits what the client accepts: by how closely it is named, then by its quality.
  function fitness(type, ranges) {
    const { major, minor } = essence(type);
    let best = { closeness: -1, quality: 0 };
    for (const range of ranges) {
      const majorFits = range.major === major || range.major === '*' || major === '*';
      const minorFits = range.minor === minor || range.minor === '*' || minor === '*';
      if (!majorFits || !minorFits) continue;
      const closeness = (range.major === major ? 100 : 0) + (range.minor === minor ? 10 : 0);
      if (closeness > best.closeness) best = { closeness, quality: range.quality };
    }
    return best;
  }

  function bestType(accept) {
    const ranges = accept.split(',').map(essence);
    let best = null;
    for (const [name] of provided) {
      for (const type of types.get(name) ?? []) {
        const fit = fitness(type, ranges);
        const better = best === null || fit.quality > best.fit.quality
          || (fit.quality === best.fit.quality && fit.closeness > best.fit.closeness);
        if (fit.quality > 0 && better) best = { name, type, fit };
      }
    }
    return best;
  }

  function negotiate(req) {
    const accept = req.headers?.Accept ?? req.headers?.accept;
    const format = req.query?.format;
    if (format) return { name: format, type: types.get(format)?.[0] };
    if (accept) return bestType(accept);
    const first = provided[0][0];
    return { name: first, type: types.get(first)?.[0] };
  }

  function runProvided(req) {
    const best = negotiate(req);
    const chosen = best && provided.find(([name]) => name === best.name);
    if (!chosen) {
      const offered = provided.map(([name]) => types.get(name)?.join(', ') ?? name).join(', ');
      const asked = req.query?.format || req.headers?.Accept || req.headers?.accept;
      throw ['error', 'not_acceptable',
        'Content-Type ' + asked + ' not supported, try one of: ' + offered];
    }
    chosenType = best.type ?? null;
    return chosen[1].call(design);
  }

  // Lists, and shows that write like them.
  let start = {};
  let chunks = [];
  let begun = false;
  let ended = false;

  function reset() {
    provided = [];
    chosenType = null;
    start = {};
    chunks = [];
    begun = false;
    ended = false;
  }

  function withType(response) {
    if (chosenType === null) return response;
    const headers = { ...response.headers };
    headers['Content-Type'] ??= chosenType;
    return { ...response, headers };
  }

  function flush() {
    if (!begun) {
      begun = true;
      outside.begin(stringify(withType(start)));
    }
    if (chunks.length > 0) outside.chunk(chunks.join(''));
    chunks = [];
  }

  define('start', function (response) { start = response ?? {}; });
  define('send', function send(chunk) { chunks.push(String(chunk)); });
  define('getRow', function getRow() {
    if (ended) return null;
    flush();
    const row = outside.next();
    if (row === undefined || row === null) {
      ended = true;
      return null;
    }
    return JSON.parse(row);
  });

  function wrapped(response) {
    return typeof response === 'string' ? { body: response } : response ?? {};
  }

  function isOwn(error) {
    if (error === null || typeof error !== 'object') return false;
    return (error.error && error.reason) || error[0] === 'error' || error[0] === 'fatal'
      || 'forbidden' in error || 'unauthorized' in error;
  }

  function rendering(run) {
    reset();
    try {
      return run();
    } catch (error) {
      if (isOwn(error)) throw error;
      const stack = error !== null && typeof error === 'object' ? error.stack : undefined;
      throw ['error', 'render_error',
        'function raised error: ' + String(error) + ' \nstacktrace: ' + String(stack)];
    }
  }

  function runShow(show, doc, req) {
    let response = show.call(design, doc, req);
    if (provided.length > 0) response = runProvided(req);
    response = wrapped(response);
    if (chunks.length > 0) {
      response = { ...start, ...response, headers: { ...start.headers, ...response.headers },
        body: chunks.join('') + (response.body ?? '') };
    }
    return stringify(withType(response));
  }

  // Longest path of a request for a show without a document.
  const SHOW_PATH = 5;

  return {
    call(make, ...values) {
      return make.apply(design, values);
    },
    show(show, doc, req) {
      try {
        return rendering(() => runShow(show, doc, req));
      } catch (error) {
        if (doc === null && req.path?.length > SHOW_PATH) {
          throw ['error', 'not_found', 'document not found'];
        }
        throw error;
      }
    },
    update(update, doc, req) {
      return rendering(() => {
        const result = update.call(design, doc, req);
        const [changed, response] = isArray(result) ? result : [undefined, undefined];
        if (result === undefined || result === null) {
          throw ['error', 'render_error', 'undefined response from update function'];
        }
        return stringify({ doc: changed ?? null, response: wrapped(response) });
      });
    },
    list(list, head, req) {
      return rendering(() => {
        let tail = list.call(design, head, req);
        if (provided.length > 0) tail = runProvided(req);
        if (tail !== undefined) chunks.push(String(tail));
        flush();
      });
    },
    rewrite(rewrite, req) {
      const result = rewrite.call(design, req);
      if (!result) return undefined;
      return stringify(typeof result === 'string' ? { path: result } : result);
    },
  };
})
