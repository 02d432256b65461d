import { localizeTimes, main } from './document.js';
import { fillOpenedGroups } from './failure-groups.js';
import { LivePage } from './live.js';

/*
 * What runs in the browser. The page is complete without it; with it, times are local and numbers move.
 */

// What has just been done is not said again when the page is reloaded.
if (/[?&](done|begun)=/.test(location.search)) {
  history.replaceState(null, '', location.pathname);
}
localizeTimes();
fillOpenedGroups();
const { live = '', status = '' } = main.dataset;
if (live !== '') {
  new LivePage(live, status).follow();
}
