// The form with which people sign in.
import { post } from './api.js';
import { field, form, h } from './html.js';

/** A form that signs in by cookie and then calls `done`. */
export const signIn = done => form({ className: 'fields', id: 'sign-in' }, async ({ name, password, token }) => {
  await post('_session', token ? { name, password, token } : { name, password });
  await done();
},
field('Name', 'name', { required: true, autocomplete: 'username', autofocus: true }),
field('Password', 'password', { type: 'password', required: true, autocomplete: 'current-password' }),
h('details', {}, h('summary', {}, 'One-time code'), field('Code, if your account asks for one', 'token',
  { inputMode: 'numeric', autocomplete: 'one-time-code' })),
h('button', { className: 'main' }, 'Sign in'));
