// Pages that show what is going on.

/**
 * Asks at once and then every so many ms until the page is left, and shows what the answer comes to. As long as the answer
 * stays the same, so do the elements: nobody loses the button they are about to press.
 */
export async function again(place, ask, shown, signal, ms = 2_000) {
  let before;
  const once = async () => {
    const answer = await ask(), text = JSON.stringify(answer);
    if (signal.aborted || text === before) return;
    before = text;
    place.replaceChildren(shown(answer));
  };
  await once();
  // A failure is as likely as not a restart of the server; the next time tells.
  const timer = setInterval(() => once().catch(() => {}), ms);
  signal.addEventListener('abort', () => clearInterval(timer));
}
