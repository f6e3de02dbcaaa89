/** The token that the server wants, from `#token=...`: kept for this tab, taken out of the address. */

const KEY = 'edgecritic.token';

/** @returns {string | null} */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    sessionStorage.setItem(KEY, given);
    // What stands in the address ends up in screenshots and bookmarks.
    window.history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY);
}
