"use strict";
// Appended to a copy of report.html by check-report.sh: uses the page as a reader would and puts the outcome into the title.
(function () {
  const problems = [];
  const check = (ok, text) => { if (!ok) problems.push(text); };
  try {
    const svg = document.getElementById("matrix"), sort = document.getElementById("sort"), find = document.getElementById("find");
    const data = JSON.parse(document.getElementById("data").textContent), n = data.Models.length;
    const change = value => { sort.value = value; sort.dispatchEvent(new Event("change")); };
    const box = () => svg.getBoundingClientRect();
    const point = (a, b) => svg.dispatchEvent(new PointerEvent("pointermove", {bubbles: true,
      clientX: box().left + (data.Left + (b + 0.5) * data.Cell) * box().width / svg.viewBox.baseVal.width,
      clientY: box().top + (data.Top + (a + 0.5) * data.Cell) * box().height / svg.viewBox.baseVal.height}));
    const tip = document.getElementById("tip");

    for (const option of sort.options) {
      change(option.value);
      const seen = new Set([...svg.querySelectorAll(".head text.left:not(.number)")].map(t => t.getAttribute("y")));
      check(data.Raster || seen.size === n, "order " + option.value + ": rows lie on each other");
      if (option.value === "name" && !data.Raster) {
        const rows = [...svg.querySelectorAll(".head")].sort((p, q) => p.querySelector("text.left:not(.number)").getAttribute("y") - q.querySelector("text.left:not(.number)").getAttribute("y"));
        const names = rows.map(g => data.Models[g.dataset.model].Name);
        check(names.every((v, k) => k === 0 || names[k - 1] <= v), "order by name: " + names.join(" "));
        // A cell must have moved with its row and column.
        point(0, 1);
        check(n < 2 || tip.textContent.startsWith(names[0] + " and " + names[1]), "cell 0, 1 by name reads " + tip.textContent);
        const cell = svg.querySelector('[data-i="' + rows[0].dataset.model + '"][data-j="' + rows[n - 1].dataset.model + '"]');
        check(cell.getAttribute("transform") === "translate(" + (data.Left + (n - 1) * data.Cell) + "," + data.Top + ")", "cell did not move: " + cell.getAttribute("transform"));
      }
    }
    change("cluster");
    if (n > 1) {
      point(0, 1);
      const first = data.Models[data.Order[0]].Name, second = data.Models[data.Order[1]].Name;
      check(!tip.hidden && tip.textContent.includes(first) && tip.textContent.includes(second) && (tip.textContent.includes("common images") || tip.textContent.includes("not defined")), "hover reads " + tip.textContent);
      svg.dispatchEvent(new PointerEvent("pointerleave"));
      check(tip.hidden, "hover text stays");

      const name = data.Models[data.Order[0]].Name;
      find.value = name;
      find.dispatchEvent(new Event("input"));
      const found = document.getElementById("found");
      check(!found.hidden && found.textContent.includes("Nearest to " + name), "search finds " + found.textContent);
      check(document.getElementById("mark-row").getAttribute("visibility") === "visible", "search marks no row");
      find.value = "no such model";
      find.dispatchEvent(new Event("input"));
      check(found.textContent.includes("No model"), "failed search reads " + found.textContent);
      find.value = "";
      find.dispatchEvent(new Event("input"));
      check(found.hidden, "empty search leaves its panel");
    }
    const theme = document.getElementById("theme"), ground = () => getComputedStyle(document.body).backgroundColor;
    const choose = value => { theme.value = value; theme.dispatchEvent(new Event("change")); return ground(); };
    check(choose("light") !== choose("dark"), "the choice of colours changes nothing");
    const contrast = () => {
      const light = c => c.match(/\d+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, k) => s + v * [0.2126, 0.7152, 0.0722][k], 0);
      const a = light(ground());
      return e => { const b = light(getComputedStyle(e).color); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
    };
    for (const value of ["light", "dark"]) {
      choose(value);
      const ratio = contrast();
      for (const e of document.querySelectorAll("h1, .note, small, .interval, a, td, summary")) check(ratio(e) >= 4.5, "contrast of " + e.tagName + " in " + value + " colours is " + ratio(e).toFixed(1));
    }
    choose("");
    for (const a of document.querySelectorAll("a[download]")) {
      const text = a.getAttribute("href");
      if (!text.startsWith("data:")) { check(text === "figures/" + a.download, "download of " + text); continue; }
      const start = atob(text.slice(text.indexOf(",") + 1, text.indexOf(",") + 41));
      check(a.download.endsWith(".gz") ? start.startsWith("\x1f\x8b") : start.includes(","), "download " + a.download + " begins with " + start);
    }
    check(document.querySelectorAll("a[download]").length > 0, "nothing to download");
    for (const a of document.querySelectorAll("nav a")) {
      const target = document.querySelector(a.getAttribute("href"));
      check(target && target.querySelector("h2"), "the navigation leads to " + a.getAttribute("href") + ", which has no heading");
    }
    for (const control of document.querySelectorAll("select, input")) check(control.labels && control.labels.length === 1, "a control without a label");
    svg.focus();
    svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
    check(document.getElementById("reading").textContent !== "", "arrow keys read nothing");

    check(document.documentElement.scrollWidth <= innerWidth, "the page is wider than the window: " + document.documentElement.scrollWidth);
    const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
    const twice = ids.filter((id, k) => ids.indexOf(id) < k);
    check(twice.length === 0, "ids that appear twice: " + twice.join(" "));
    for (const a of document.querySelectorAll('a[href^="#"]')) check(document.getElementById(a.getAttribute("href").slice(1)), "no target for " + a.getAttribute("href"));
    for (const s of document.querySelectorAll("svg[role=img]")) check(s.getAttribute("aria-label"), "a figure without description");
    for (const t of document.querySelectorAll("table")) check(t.querySelector("th[scope=col]"), "a table without column headers");
    for (const t of document.querySelectorAll("svg text")) {
      const r = t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect();
      if (r.width === 0 || getComputedStyle(t).visibility === "hidden") continue; // or inside a closed part of the page
      check(r.left >= s.left - 1 && r.right <= s.right + 1 && r.top >= s.top - 1 && r.bottom <= s.bottom + 1, "clipped text " + t.textContent);
    }
  } catch (e) {
    problems.push(String(e));
  }
  document.title = problems.length === 0 ? "checked" : problems.slice(0, 5).join("; ");
})();
