// What differs between two texts, line by line.

/** Lines beyond which texts are shown side by side without a comparison: it takes the product of their lengths. */
const MOST_LINES = 3000;

/** A list of `[kind, line]` with the kinds `same`, `removed` (only in `before`) and `added` (only in `after`). */
export function difference(before, after) {
  const a = before.split('\n'), b = after.split('\n');
  if (a.length > MOST_LINES || b.length > MOST_LINES) {
    return [...a.map(line => ['removed', line]), ...b.map(line => ['added', line])];
  }
  const common = longest(a, b), out = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { out.push(['same', a[i]]); i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) out.push(['removed', a[i++]]);
    else out.push(['added', b[j++]]);
  }
  return out;
}

/** `table[i][j]`: length of the longest common subsequence of `a` from `i` and `b` from `j`. */
function longest(a, b) {
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  return table;
}
