// Runs in every realm first. Looking for a text in a text takes steps that grow with both lengths, and the
// interpreter cannot be interrupted in them: searches that could take very long are refused.
(function () {
  'use strict';
  const { apply } = Reflect;
  const { defineProperty } = Object;
  const text = String;
  const expression = RegExp;
  // Most comparisons of characters that one search may come to.
  const MAX_STEPS = 1e9;
  // What the longest texts there can be are not too long for.
  const SHORT_PATTERN = 8;

  function check(subject, pattern) {
    if (pattern.length <= SHORT_PATTERN || subject === null || subject === undefined) return;
    const length = typeof subject === 'string' ? subject.length : text(subject).length;
    if (length * pattern.length > MAX_STEPS) {
      throw new RangeError('the text and the text looked for are too long');
    }
  }

  const searches = [
    ['indexOf'], ['lastIndexOf'], ['includes'],
    ['split', Symbol.split], ['replace', Symbol.replace], ['replaceAll', Symbol.replace],
  ];
  for (const [name, symbol] of searches) {
    const search = String.prototype[name];
    const guarded = {
      [name](pattern, second) {
        if (typeof pattern === 'string') {
          check(this, pattern);
        } else if (typeof pattern === 'object' && pattern !== null
            && !(pattern instanceof expression) && !(symbol && pattern[symbol])) {
          pattern = text(pattern);
          check(this, pattern);
        }
        return arguments.length < 2 ? apply(search, this, [pattern]) : apply(search, this, [pattern, second]);
      },
    };
    defineProperty(String.prototype, name,
      { value: guarded[name], writable: true, configurable: true, enumerable: false });
  }
})();
