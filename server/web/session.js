// Signing in, for a browser that was sent here from somewhere else (`?return=PATH&reason=TEXT`).
import { root } from './api.js';
import { h } from './html.js';
import { signIn } from './sign-in.js';

/** Only a path of this server: a link to elsewhere must not borrow the trust of this page. */
function back(asked) {
  if (!asked) return new URL('_utils/', root);
  const url = new URL(asked.replace(/^\/+/, ''), root);
  return url.origin === root.origin ? url : new URL('_utils/', root);
}

const asked = new URLSearchParams(location.search);
document.getElementById('page').append(h('div', {},
  h('h1', {}, 'Sign in'),
  asked.get('reason') && h('p', {}, asked.get('reason')),
  signIn(() => location.replace(back(asked.get('return'))))));
