// JSON as text. Parsing and writing it again would turn 1.0 into 1 and 12345678901234567890 into something else, so
// documents are laid out anew by their tokens only.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gu;

/** The same JSON, indented. Text that is not JSON comes out as it went in. */
export function pretty(text) {
  try { JSON.parse(text); } catch { return text; }
  const tokens = text.match(TOKEN) ?? [];
  let out = '', depth = 0;
  const line = () => '\n' + '  '.repeat(depth);
  tokens.forEach((token, at) => {
    const next = tokens[at + 1];
    if (token === '{' || token === '[') {
      out += token;
      if (next === '}' || next === ']') return;
      depth += 1;
      out += line();
    } else if (token === '}' || token === ']') {
      const before = tokens[at - 1];
      if (before !== '{' && before !== '[') { depth -= 1; out += line(); }
      out += token;
    } else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  });
  return out;
}

/** The texts of an object's members by name, each as it was written. */
export function members(text) {
  const found = new Map(), tokens = text.match(TOKEN) ?? [];
  let depth = 0, name = null, value = '';
  for (const token of tokens) {
    if (token === '}' || token === ']') depth -= 1;
    const isEnd = depth === 0 || (depth === 1 && token === ',');
    if (isEnd && name !== null) { found.set(name, value); name = null; value = ''; }
    else if (depth === 1 && name === null && token.startsWith('"')) name = JSON.parse(token);
    else if (name !== null && !(depth === 1 && token === ':' && value === '')) value += token;
    if (token === '{' || token === '[') depth += 1;
  }
  return found;
}

/** An object of texts by name, in the order of the map. */
export const object = found => `{${[...found].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`;

/** Parses what a person typed; the error says what it was. */
export function parse(text, what) {
  try { return JSON.parse(text); } catch (failure) { throw new Error(`${what} is not JSON: ${failure.message}`); }
}
