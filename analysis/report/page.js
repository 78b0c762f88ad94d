"use strict";
(function () {
  const svg = document.getElementById("matrix");
  const data = JSON.parse(document.getElementById("data").textContent);
  const models = data.Models, n = models.length;
  const tip = document.getElementById("tip"), reading = document.getElementById("reading");
  document.documentElement.classList.add("scripted");

  function unpack(p, signed) {
    const text = atob(p.Bytes), bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    return p.Width === 4 ? new Uint32Array(bytes.buffer) : signed ? new Int16Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  }
  const counts = unpack(data.Counts), intervals = unpack(data.Intervals, true);
  const score = (both, fooled) => both === 0 ? null : fooled === 0 ? data.Floor : Math.log(100 * fooled / (2 * both));
  const end = v => v === undefined || v === -32768 ? null : v / 1000;
  const place0 = (i, j) => i < j ? i * n - i * (i + 1) / 2 + j - i - 1 : place0(j, i);
  // A pair: common images, fooled from the first to the second and back, score, its interval, what to know of it.
  function pair(i, j) {
    const k = place0(i, j), both = counts[3 * k], ab = counts[3 * k + 1], ba = counts[3 * k + 2];
    const status = both === 0 ? "" : ab + ba === 0 ? "floored" : both < data.Small ? "small" : "";
    return [both, ab, ba, score(both, ab + ba), end(intervals[2 * k]), end(intervals[2 * k + 1]), status];
  }
  function sat(i, j) {
    if (i === j) return null;
    const k = place0(i, j);
    return score(counts[3 * k], counts[3 * k + 1] + counts[3 * k + 2]);
  }
  const two = v => v === null ? "–" : v.toFixed(2).replace("-", "−");
  const interval = p => p[4] === null || p[5] === null ? "" : " [" + two(p[4]) + ", " + two(p[5]) + "]";
  const element = (tag, text) => { const e = document.createElement(tag); e.textContent = text; return e; };

  // The browser's own hover texts would cover ours.
  for (const t of svg.querySelectorAll("#cells title")) t.remove();

  let order = data.Order.slice();
  const sorts = {
    cluster: () => data.Order.slice(),
    name: () => byKey(i => models[i].Name),
    top1: () => byKey(i => -models[i].Top1),
    group: () => byKey(i => models[i].Group),
    mean: () => byKey(i => models[i].Mean === null ? Infinity : -models[i].Mean),
  };
  function byKey(key) {
    const rank = new Map(data.Order.map((i, k) => [i, k]));
    return data.Order.slice().sort((a, b) => {
      const x = key(a), y = key(b);
      return x < y ? -1 : x > y ? 1 : rank.get(a) - rank.get(b);
    });
  }

  const cells = document.getElementById("cells"), borders = document.getElementById("borders");
  const at = k => data.Cell * k;
  function place() {
    const position = [];
    order.forEach((i, k) => { position[i] = k; });
    if (data.Raster) {
      paint();
    } else {
      for (const g of cells.children) {
        g.setAttribute("transform", "translate(" + (data.Left + at(position[+g.dataset.j])) + "," + (data.Top + at(position[+g.dataset.i])) + ")");
      }
    }
    const middles = new Set(); // the positions that carry their cluster's number
    for (let from = 0, k = 1; k <= n; k++) {
      if (k < n && models[order[k]].Cluster === models[order[from]].Cluster) continue;
      middles.add(Math.floor((from + k - 1) / 2));
      from = k;
    }
    for (const g of svg.querySelectorAll(".head")) {
      const k = position[+g.dataset.model], middle = at(k) + data.Cell / 2;
      for (const r of g.querySelectorAll("rect.left")) r.setAttribute("y", data.Top + at(k));
      for (const r of g.querySelectorAll("rect.up")) r.setAttribute("x", data.Left + at(k));
      for (const t of g.querySelectorAll("text.left")) t.setAttribute("y", data.Top + middle);
      for (const t of g.querySelectorAll("text.up")) t.setAttribute("x", data.Left + middle);
      for (const t of g.querySelectorAll("text.number")) t.setAttribute("visibility", data.Cell >= 9 && middles.has(k) ? "visible" : "hidden");
      const down = g.querySelector("text.down");
      if (down) down.setAttribute("transform", "translate(" + (data.Left + middle) + "," + (data.Top + at(n) + 5) + ") rotate(-90)");
    }
    drawBorders();
    hideMarks();
  }

  // The canvas paints one pixel per cell in the new order; the image element enlarges it.
  function paint() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = n;
    const context = canvas.getContext("2d"), image = context.createImageData(n, n);
    order.forEach((i, a) => order.forEach((j, b) => {
      const m = models[i];
      const v = i === j ? (m.N ? Math.log(100 * m.Fooled / m.N) : null) : sat(i, j);
      const t = v === null ? null : Math.min(Math.max((v - data.Lo) / (data.Hi - data.Lo), 0), 1);
      const c = parseInt((t === null ? data.Undefined : data.Palette[Math.round(t * (data.Palette.length - 1))]).slice(1), 16);
      image.data.set([c >> 16, c >> 8 & 255, c & 255, 255], 4 * (a * n + b));
    }));
    context.putImageData(image, 0, 0);
    cells.setAttribute("href", canvas.toDataURL());
  }

  function drawBorders() {
    borders.textContent = "";
    const key = sort.value === "cluster" ? i => models[i].Cluster : sort.value === "group" ? i => models[i].Group : null;
    if (!key || !key(order[0])) return;
    const add = (tag, attributes) => {
      const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
      borders.append(e);
    };
    let from = 0;
    const blocks = [];
    for (let k = 1; k <= n; k++) {
      if (k < n && key(order[k]) === key(order[from])) continue;
      if (from > 0) add("path", {class: "sep", d: "M" + (data.Left + at(from)) + "," + data.Top + "v" + at(n) + "M" + data.Left + "," + (data.Top + at(from)) + "h" + at(n)});
      blocks.push([from, k]);
      from = k;
    }
    for (const [a, b] of blocks) add("rect", {class: "block", x: data.Left + at(a), y: data.Top + at(a), width: at(b - a), height: at(b - a)});
  }

  const markRow = document.getElementById("mark-row"), markColumn = document.getElementById("mark-column");
  function mark(row, column) {
    show(markRow, row, "y", data.Top);
    show(markColumn, column, "x", data.Left);
    function show(rect, k, axis, offset) {
      rect.setAttribute("visibility", k === null ? "hidden" : "visible");
      if (k !== null) rect.setAttribute(axis, offset + at(k));
    }
  }
  function hideMarks() {
    const k = found === null ? null : order.indexOf(found);
    mark(k, k);
  }

  function describe(i, j) {
    const m = models[i];
    if (i === j) {
      return [m.Name + " on itself", m.N ? "The attack fools " + m.Fooled + " of " + m.N + " images (" + (100 * m.Fooled / m.N).toFixed(1) + " %)." : "No image classified correctly."];
    }
    const p = pair(i, j), forward = i < j ? p[1] : p[2], back = i < j ? p[2] : p[1];
    const lines = [m.Name + " and " + models[j].Name];
    if (p[3] === null) return lines.concat("No image that both classify correctly: similarity is not defined.");
    lines.push("SAT " + two(p[3]) + interval(p) + ", " + (100 * (p[1] + p[2]) / (2 * p[0])).toFixed(1) + " % fooled");
    lines.push(p[0] + " common images");
    lines.push("made on " + m.Name + ": fool the other " + forward + " times");
    lines.push("made on " + models[j].Name + ": " + back + " times");
    if (p[6]) lines.push("status: " + p[6]);
    return lines;
  }

  function cellAt(event) {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const b = Math.floor(((event.clientX - box.left) * scale - data.Left) / data.Cell);
    const a = Math.floor(((event.clientY - box.top) * scale - data.Top) / data.Cell);
    return a >= 0 && b >= 0 && a < n && b < n ? [a, b] : null;
  }
  function tell(a, b, x, y) {
    const lines = describe(order[a], order[b]);
    tip.textContent = "";
    tip.append(element("b", lines[0]));
    for (const line of lines.slice(1)) tip.append(element("div", line));
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - w - 6)) + "px";
    tip.style.top = (y + 18 + h > innerHeight ? Math.max(6, y - h - 12) : y + 18) + "px";
    return lines;
  }
  function read(e) {
    const c = cellAt(e);
    if (!c) { leave(); return; }
    mark(c[0], c[1]);
    tell(c[0], c[1], e.clientX, e.clientY);
  }
  svg.addEventListener("pointermove", read);
  svg.addEventListener("pointerdown", read);
  // A finger leaves at once when it lifts; its text stays until the next tap or scroll.
  svg.addEventListener("pointerleave", e => { if (e.pointerType !== "touch") leave(); });
  document.addEventListener("pointerdown", e => { if (!svg.contains(e.target)) leave(); });
  addEventListener("scroll", leave, {passive: true});
  function leave() { tip.hidden = true; hideMarks(); }

  let cursor = null;
  const steps = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  svg.addEventListener("keydown", e => {
    if (e.key === "Escape") { leave(); cursor = null; return; }
    const s = steps[e.key];
    if (!s) return;
    e.preventDefault();
    cursor = cursor ? [Math.min(Math.max(cursor[0] + s[0], 0), n - 1), Math.min(Math.max(cursor[1] + s[1], 0), n - 1)] : [0, 0];
    mark(cursor[0], cursor[1]);
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const lines = tell(cursor[0], cursor[1], box.left + scale * (data.Left + at(cursor[1] + 1)), box.top + scale * (data.Top + at(cursor[0] + 1)));
    reading.textContent = lines.join(". ");
  });
  svg.addEventListener("blur", () => { cursor = null; leave(); });

  const sort = document.getElementById("sort");
  sort.addEventListener("change", () => { order = sorts[sort.value](); place(); });
  if (!models.some(m => m.Group)) sort.querySelector("[value=group]").remove();

  let found = null;
  const find = document.getElementById("find"), panel = document.getElementById("found");
  find.addEventListener("input", () => {
    const text = find.value.trim().toLowerCase();
    const matches = text === "" ? [] : models.map((m, i) => i).filter(i => models[i].Name.toLowerCase().includes(text));
    const exact = matches.find(i => models[i].Name.toLowerCase() === text);
    found = exact !== undefined ? exact : matches.length === 1 ? matches[0] : null;
    panel.textContent = "";
    panel.hidden = text === "";
    if (found !== null) {
      const others = models.map((m, j) => j).filter(j => j !== found && sat(found, j) !== null).sort((a, b) => sat(found, b) - sat(found, a));
      list("Nearest to " + models[found].Name, others.slice(0, 5));
      list("Farthest", others.slice(Math.max(others.length - 5, 5)).reverse());
    } else if (text !== "") {
      panel.append(element("div", matches.length === 0 ? "No model has this in its name." : matches.length + " models: " + matches.slice(0, 12).map(i => models[i].Name).join(", ") + (matches.length > 12 ? " …" : "")));
    }
    hideMarks();
  });
  function list(title, others) {
    if (others.length === 0) return;
    const part = document.createElement("div"), ol = document.createElement("ol");
    part.append(element("h3", title), ol);
    for (const j of others) ol.append(element("li", models[j].Name + ": " + two(sat(found, j)) + interval(pair(found, j))));
    panel.append(part);
  }

  // The choice of colours is kept for this browser where it allows that; pages opened from a disk may have no storage.
  const theme = document.getElementById("theme"), root = document.documentElement;
  function paintTheme() { if (theme.value) root.dataset.theme = theme.value; else delete root.dataset.theme; }
  try { theme.value = localStorage.getItem("sat-theme") || ""; } catch { /* no storage */ }
  theme.addEventListener("change", () => { paintTheme(); try { localStorage.setItem("sat-theme", theme.value); } catch { /* no storage */ } });
  paintTheme();

  const details = document.querySelectorAll("details:not(.scope,.everything)");
  addEventListener("beforeprint", () => details.forEach(d => { d.dataset.was = d.open ? "1" : ""; d.open = true; }));
  addEventListener("afterprint", () => details.forEach(d => { d.open = d.dataset.was === "1"; }));
})();
