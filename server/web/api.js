// Requests to the server these pages came from.

/** The server's root, below whatever prefix it is reached. */
export const root = new URL('..', document.baseURI);

/** An answer that is an error, in the words of the server. */
export class Refusal extends Error {
  constructor(status, error, reason) {
    super(reason || error || `status ${status}`);
    this.status = status;
    this.error = error;
  }
}

// Half of a surrogate pair has no place in an address.
const encode = text => encodeURIComponent(text.toWellFormed());

/** The path of a database, or of anything below it. */
export const path = (...segments) => segments.map(encode).join('/');

/** The path of a document, whose `_design/` keeps its slash, or of an attachment of it. */
export function docPath(db, id, ...rest) {
  const [space = ''] = /^_(design|local)\//.exec(id) ?? [];
  return [encode(db), space + encode(id.slice(space.length)), ...rest.map(encode)].join('/');
}

/** A query string; what is `undefined` is left out. */
export const query = values => {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined);
  return pairs.length ? '?' + pairs.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join('&') : '';
};

/** Sends a request and returns the answer's text; `body` may be text, a Blob, or a value that becomes JSON. */
export async function send(method, where, body, { signal, type = 'application/json' } = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = type;
  if (body !== undefined && typeof body !== 'string' && !(body instanceof Blob)) body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(new URL(where, root), { method, headers, body, signal, credentials: 'same-origin' });
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new Refusal(0, 'unreachable', 'The server does not answer. Is it running?');
  }
  const text = await answer.text();
  if (answer.ok) return text;
  let said = {};
  try { said = JSON.parse(text); } catch { /* not from Settee: the status has to do */ }
  throw new Refusal(answer.status, said.error, said.reason);
}

const parsed = async answer => JSON.parse(await answer);
export const get = (where, options) => parsed(send('GET', where, undefined, options));
export const post = (where, body, options) => parsed(send('POST', where, body, options));
export const put = (where, body, options) => parsed(send('PUT', where, body, options));
export const remove = where => parsed(send('DELETE', where));
