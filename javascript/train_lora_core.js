// The namespace, a bus between the parts, JSON requests, what is kept in the browser. Nothing here draws.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const listeners = {};

  /** Call `handler(value)` whenever `emit(topic, value)` happens. */
  tl.on = function (topic, handler) {
    (listeners[topic] = listeners[topic] || []).push(handler);
  };

  tl.emit = function (topic, value) {
    for (const handler of listeners[topic] || []) {
      try {
        handler(value);
      } catch (error) {
        console.error('Train LoRA:', topic, error); // one broken panel must not stop the others
      }
    }
  };

  /** What went wrong with a request, in the user's words. `status` 0: nobody answered. */
  class RequestError extends Error {
    constructor(status, body) {
      super(body.error || `The web UI answered with ${status}.`);
      this.status = status;
      this.remedy = body.remedy || '';
      this.field = body.field || '';
    }
  }

  const base = () => location.origin + location.pathname.replace(/[^/]*$/, '') + 'train-lora/v1/';

  /** Address of a route, with a query made of `params`. */
  function url(route, params) {
    const query = new URLSearchParams(params || {}).toString();
    return base() + route + (query ? '?' + query : '');
  }

  async function send(address, options, seconds) {
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(), seconds * 1000);
    try {
      return await fetch(address, {
        credentials: 'same-origin', referrerPolicy: 'same-origin', cache: 'no-store', signal: control.signal, ...options,
      });
    } catch (error) {
      throw new RequestError(0, { error: 'The web UI does not answer.', remedy: 'Look whether it is still running.' });
    } finally {
      clearTimeout(timer);
    }
  }

  async function read(response) {
    const text = await response.text();
    let body;
    try {
      body = JSON.parse(text);
    } catch (error) {
      body = { error: `The web UI answered with ${response.status}.`, remedy: text.slice(0, 200) };
      if (response.ok) throw new RequestError(response.status, body);
    }
    if (!response.ok) throw new RequestError(response.status, body);
    return body;
  }

  const get = async (route, params) => read(await send(url(route, params), {}, 30));

  async function post(route, body, seconds) {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body || {}) };
    return read(await send(url(route), options, seconds || 60));
  }

  async function upload(params, file, route) {
    const options = { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: file };
    return read(await send(url(route || 'upload', params), options, 600));
  }

  tl.api = { url, get, post, upload, RequestError };

  /** Pages of different folders on one address don't share what they remember. */
  const key = (name) => {
    const root = document.querySelector('#train-lora-root');
    return `train-lora/${(root && root.dataset.key) || ''}/${name}`;
  };

  /** Small things remembered in this browser; a browser that forbids it just forgets. */
  tl.store = {
    get(name, fallback) {
      try {
        const text = localStorage.getItem(key(name));
        return text === null ? fallback : JSON.parse(text);
      } catch (error) {
        return fallback;
      }
    },
    set(name, value) {
      try {
        localStorage.setItem(key(name), JSON.stringify(value));
      } catch (error) {
        console.warn('Train LoRA: the browser keeps nothing:', error.message);
      }
    },
  };

  /** `call` once, `ms` after the last time the result was called. */
  tl.later = function (call, ms) {
    let timer = 0;
    return function () {
      clearTimeout(timer);
      timer = setTimeout(call, ms);
    };
  };
})(trainLora);
