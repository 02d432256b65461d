/**
 * The page without it is complete; with it, times are local and numbers move. A batch's status is asked for every two
 * seconds, which is one command. The whole page, with the tree and what holds the batch, is fetched less often, the
 * less so the longer it takes. What changed is put into the page that is there, so that focus, selection and opened
 * details stay.
 */
export const CLIENT_SCRIPT = `
(function () {
  'use strict';
  var main = document.getElementById('main');
  var said = document.getElementById('said');
  var stale = document.getElementById('stale');
  var page = main.getAttribute('data-live');
  var statusUrl = main.getAttribute('data-status');
  var STATUS_MS = 2000, LIST_MS = 5000, PAGE_MS = 15000, WAIT_MS = 20000, WINDOW_MS = 60000, ENOUGH_MS = 4000;
  var PARTS = ['succeeded', 'failed', 'cancelled', 'missing'];
  var SIGNS = { open: '○', running: '▶', finishing: '◑', succeeded: '✓', failed: '✕', cancelled: '⊘', waiting: '…', skipped: '↷' };

  function number(n) { return n.toLocaleString('en-US'); }

  function ago(ms) {
    if (ms < 5000) return 'just now';
    if (ms < 60000) return Math.floor(ms / 1000) + ' s ago';
    if (ms < 3600000) return Math.floor(ms / 60000) + ' min ago';
    return ms < 86400000 ? Math.floor(ms / 3600000) + ' h ago' : Math.floor(ms / 86400000) + ' d ago';
  }

  function timeLeft(ms) {
    if (ms < 60000) return 'less than a minute left';
    if (ms < 3600000) return 'about ' + Math.ceil(ms / 60000) + ' min left';
    if (ms < 86400000) {
      var tens = Math.ceil(ms / 600000), hours = Math.floor(tens / 6), rest = (tens % 6) * 10;
      return 'about ' + hours + ' h' + (rest ? ' ' + rest + ' min' : '') + ' left';
    }
    var days = Math.round(ms / 86400000);
    return days > 30 ? 'more than a month left' : 'about ' + days + (days === 1 ? ' day' : ' days') + ' left';
  }

  function rate(perSecond) {
    function short(n) { return n >= 10 ? number(Math.round(n)) : String(Math.round(n * 10) / 10); }
    if (perSecond >= 1) return short(perSecond) + ' per second';
    if (perSecond * 60 >= 1) return short(perSecond * 60) + ' per minute';
    return short(perSecond * 3600) + ' per hour';
  }

  function put(element, text) { if (element && element.textContent !== text) element.textContent = text; }

  function localizeTimes() {
    document.querySelectorAll('time').forEach(function (element) {
      var when = new Date(element.getAttribute('datetime'));
      element.title = when.toLocaleString();
      put(element, ago(Date.now() - when.getTime()));
    });
  }

  // What is kept: whether details are open, what was typed, and which element it is.
  function keyOf(node) { return node.nodeType === 1 ? node.getAttribute('data-key') || node.id || null : null; }

  function isSame(a, b) { return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b); }

  function morph(from, to) {
    if (from.nodeType !== 1) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    Array.from(to.attributes).forEach(function (attribute) {
      if (attribute.name === 'open' || attribute.name === 'title') return;
      if (from.getAttribute(attribute.name) !== attribute.value) from.setAttribute(attribute.name, attribute.value);
    });
    Array.from(from.attributes).forEach(function (attribute) {
      if (!to.hasAttribute(attribute.name) && attribute.name !== 'open') from.removeAttribute(attribute.name);
    });
    var keyed = new Map();
    Array.from(from.childNodes).forEach(function (child) { if (keyOf(child)) keyed.set(keyOf(child), child); });
    var cursor = from.firstChild;
    Array.from(to.childNodes).forEach(function (next) {
      var known = keyOf(next) ? keyed.get(keyOf(next)) : cursor;
      if (known && isSame(known, next)) {
        if (known === cursor) cursor = cursor.nextSibling;
        else from.insertBefore(known, cursor);
        morph(known, next);
      } else {
        from.insertBefore(document.importNode(next, true), cursor);
      }
    });
    while (cursor) {
      var after = cursor.nextSibling;
      from.removeChild(cursor);
      cursor = after;
    }
  }

  function morphMain(next) {
    var focused = document.activeElement;
    var href = focused && focused.getAttribute('href');
    morph(main, next);
    if (focused && focused !== document.activeElement && focused !== document.body) {
      var again = main.contains(focused) ? focused : href && Array.from(main.querySelectorAll('a')).find(function (link) {
        return link.getAttribute('href') === href;
      });
      (again || main).focus({ preventScroll: true });
    }
  }

  function warn(sentence) { put(stale, sentence); stale.hidden = sentence === ''; }

  function get(url, accept) {
    var abort = new AbortController();
    var timer = setTimeout(function () { abort.abort(); }, WAIT_MS);
    return fetch(url, { headers: { Accept: accept }, cache: 'no-store', credentials: 'same-origin', signal: abort.signal })
      .then(function (response) {
        var type = response.headers.get('content-type') || '';
        if (response.status === 404) throw { gone: true };
        if (response.status === 401 || response.status === 403 || (response.ok && type.indexOf(accept) !== 0)) throw { signedOut: true };
        if (!response.ok) throw new Error(String(response.status));
        return accept === 'text/html' ? response.text() : response.json();
      })
      .finally(function () { clearTimeout(timer); });
  }

  function refreshPage() {
    var began = Date.now();
    return get(page, 'text/html').then(function (text) {
      // Its style sheet carries the nonce of another answer, and browsers complain about that even where nothing is
      // shown.
      var next = new DOMParser().parseFromString(text.replace(/<style.*?<\\/style>/s, ''), 'text/html');
      morphMain(next.getElementById('main'));
      document.title = next.title;
      localizeTimes();
      pageTook = Date.now() - began;
      pageAt = Date.now();
      if (latest) show(latest);
    });
  }

  // A batch's numbers, and how they have moved lately.
  var samples = [], latest = null, lastSaid = { at: Date.now(), state: null, progress: -1 };

  function show(status) {
    latest = status;
    sample();
    tell();
  }

  // With child batches it is the jobs below that tell the pace, and their numbers come with the page.
  function sample() {
    var card = main.querySelector('[data-progress]'), last = samples[samples.length - 1];
    var hasJobs = card !== null && card.hasAttribute('data-jobs-settled');
    var next = hasJobs
      ? { at: pageAt, settled: Number(card.getAttribute('data-jobs-settled')), pending: Number(card.getAttribute('data-jobs-pending')) }
      : { at: Date.now(), settled: latest.succeeded + latest.failed, pending: latest.pending };
    if (last && last.at === next.at) return;
    if (last && (next.settled < last.settled || last.hasJobs !== hasJobs)) samples = [];
    next.hasJobs = hasJobs;
    samples.push(next);
    while (samples.length > 2 && samples[1].at < next.at - WINDOW_MS) samples.shift();
  }

  function tell() {
    var card = main.querySelector('[data-progress]');
    if (!latest || !card) return;
    ['progress', 'total', 'pending'].concat(PARTS).forEach(function (name) {
      put(card.querySelector('[data-n="' + name + '"]'), number(latest[name]));
      var item = card.querySelector('[data-part="' + name + '"]');
      if (item) item.classList.toggle('none', latest[name] === 0);
    });
    var bar = card.querySelector('.bar'), x = 0;
    PARTS.forEach(function (name) {
      var rect = bar.querySelector('rect.' + name), width = latest[name] ? Math.max(8, 1000 * latest[name] / latest.total) : 0;
      rect.setAttribute('x', x.toFixed(1));
      rect.setAttribute('width', width.toFixed(1));
      x += width;
    });
    bar.querySelector('svg').setAttribute('viewBox', '0 0 ' + Math.max(1000, x).toFixed(1) + ' 8');
    var settled = number(latest.total - latest.pending) + ' of ' + number(latest.total) + ' settled';
    bar.setAttribute('aria-valuenow', latest.progress);
    bar.setAttribute('aria-valuetext', latest.progress + ' %, ' + settled + (latest.failed ? ', ' + number(latest.failed) + ' failed' : ''));
    var badge = main.querySelector('.facts [data-badge]');
    badge.className = 'badge ' + latest.state;
    if (badge.textContent.trim().split(/\\s+/).pop() !== latest.state) badge.textContent = SIGNS[latest.state] + ' ' + latest.state;
    tellPace(card);
    if (!isFinished()) document.title = latest.progress + ' % · ' + document.title.replace(/^\\d+ % · /, '');
    sayAloud(settled);
  }

  function tellPace(card) {
    var first = samples[0], last = samples[samples.length - 1];
    if (!last) return;
    card.querySelector('[data-left-row]').hidden = latest.state !== 'running';
    if (isFinished() || last.at - first.at < ENOUGH_MS) return;
    var perSecond = 1000 * (last.settled - first.settled) / (last.at - first.at);
    var over = last.at - first.at < 55000 ? Math.round((last.at - first.at) / 1000) + ' s' : 'minute';
    put(card.querySelector('[data-rate]'), (perSecond ? rate(perSecond) : 'nothing worked off') + (last.hasJobs ? ', with the jobs of child batches,' : ',') + ' in the last ' + over);
    put(card.querySelector('[data-left]'), perSecond ? timeLeft(1000 * last.pending / perSecond) : 'not to be told: nothing moves');
  }

  // To screen readers: each new state, and the progress now and then.
  function sayAloud(settled) {
    var now = Date.now(), moved = latest.progress !== lastSaid.progress && now - lastSaid.at > 30000;
    if (lastSaid.state === null) { lastSaid.state = latest.state; lastSaid.progress = latest.progress; return; }
    if (latest.state === lastSaid.state && !moved) return;
    lastSaid = { at: now, state: latest.state, progress: latest.progress };
    put(said, latest.state + ', ' + latest.progress + ' %, ' + settled);
  }

  function isFinished() { return latest !== null && ['succeeded', 'failed', 'cancelled', 'skipped'].indexOf(latest.state) >= 0; }

  var pageAt = Date.now(), pageTook = 0, lastState = null, failures = 0, timer = null, busy = false, over = false;

  function pageIsDue() {
    return Date.now() - pageAt > (main.querySelector('[data-pending]') ? 3000 : Math.max(PAGE_MS, 20 * pageTook));
  }

  function lookAtBatch() {
    return get(statusUrl, 'application/json').then(function (status) {
      var changed = lastState !== null && status.state !== lastState;
      lastState = status.state;
      show(status);
      localizeTimes();
      if (!isFinished() && !changed && !pageIsDue()) return;
      return refreshPage().then(function () {
        if (isFinished() && !main.querySelector('[data-pending]')) over = true;
      });
    });
  }

  function look() {
    timer = null;
    if (busy || over || document.hidden) return;
    busy = true;
    (statusUrl ? lookAtBatch() : refreshPage()).then(function () {
      failures = 0;
      warn('');
    }, function (error) {
      failures++;
      if (error && error.gone) { over = true; warn('This batch has been removed.'); }
      else if (error && error.signedOut) { over = true; warn('This page is no longer up to date: reload it, you may have to sign in again.'); }
      else if (failures > 1) warn('This page is not up to date: the server does not answer. Trying again.');
    }).finally(function () {
      busy = false;
      later();
    });
  }

  function later() {
    if (timer !== null || over || document.hidden) return;
    var pause = statusUrl ? STATUS_MS : Math.max(LIST_MS, 20 * pageTook);
    timer = setTimeout(look, Math.min(60000, pause * Math.pow(2, Math.min(failures, 5))));
  }

  if (location.search.indexOf('done=') >= 0 || location.search.indexOf('begun=') >= 0) history.replaceState(null, '', location.pathname);
  localizeTimes();
  if (!page) return;
  var drawn = main.querySelector('[data-progress]');
  lastState = drawn && drawn.getAttribute('data-state');
  if (drawn && ['succeeded', 'failed', 'cancelled', 'skipped'].indexOf(lastState) >= 0 && !main.querySelector('[data-pending]')) return;
  document.addEventListener('visibilitychange', function () {
    if (document.hidden) { clearTimeout(timer); timer = null; } else if (timer === null) { samples = []; look(); }
  });
  later();
})();
`;
