// The curves to keep: as a picture, and all their numbers as a table.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const STYLES = ['stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'fill', 'opacity', 'font-size', 'font-family', 'visibility'];

  function download(blob, name) {
    const link = tl.dom.el('a', { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** The SVG with what the page's styles make of it written into it. */
  function alone(picture) {
    const copy = picture.cloneNode(true);
    const parts = [picture, ...picture.querySelectorAll('*')];
    [copy, ...copy.querySelectorAll('*')].forEach((node, index) => {
      const style = getComputedStyle(parts[index]);
      for (const name of STYLES) node.style.setProperty(name, style.getPropertyValue(name));
    });
    copy.setAttribute('width', picture.clientWidth);
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    return new XMLSerializer().serializeToString(copy);
  }

  const ground = (node) => {
    for (let here = node; here; here = here.parentElement) {
      const colour = getComputedStyle(here).backgroundColor;
      if (colour && !/^(transparent|rgba\(.*, 0\))$/.test(colour)) return colour;
    }
    return 'white';
  };

  /** As it is shown, twice as fine. */
  async function picture(chart, name) {
    const image = new Image();
    image.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(alone(chart));
    await image.decode();
    const canvas = tl.dom.el('canvas', { width: 2 * chart.clientWidth, height: 2 * chart.clientHeight });
    const pen = canvas.getContext('2d');
    pen.fillStyle = ground(chart);
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    download(await new Promise((resolve) => canvas.toBlob(resolve, 'image/png')), `${name}.png`);
  }

  /** Every step the run told of, not only those that are drawn. */
  async function rows(id) {
    const found = new Map();
    for (let after = 0, more = true; more;) {
      const answer = await tl.api.get('events', { run: id, after });
      for (const event of answer.events) if (event.event === 'Progress') found.set(event.step, event);
      more = answer.next > after && answer.events.length > 0;
      after = answer.next;
    }
    return [...found.values()].sort((a, b) => a.step - b.step);
  }

  async function numbers(id, name) {
    const list = await rows(id);
    const names = [...new Set(list.flatMap((one) => Object.keys(one.lr || {})))];
    const head = ['step', 'epoch', 'loss', 'loss_smooth', ...names.map((one) => `lr_${one}`)];
    const lines = list.map((one) => [one.step, one.epoch, one.loss, one.loss_smooth, ...names.map((rate) => (one.lr || {})[rate])]);
    const text = [head, ...lines].map((line) => line.map((value) => (value === undefined || value === null ? '' : value)).join(',')).join('\n');
    download(new Blob([text + '\n'], { type: 'text/csv' }), `${name}.csv`);
  }

  const plain = (run) => `${(run.name || run.id).replace(/[^\w. -]+/g, '_')} loss`;

  function buttons(chart, place) {
    const { button } = tl.dom;
    const make = (label, action) => {
      const node = button(label, () => tl.parts.busy(node, place, () => action(tl.bake.run())), {});
      return node;
    };
    return [make('Save as picture', (run) => picture(chart.picture, plain(run))), make('Save the numbers', (run) => numbers(run.id, plain(run)))];
  }

  tl.saving = { buttons };
})(trainLora);
