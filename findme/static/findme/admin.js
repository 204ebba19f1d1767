/* Keyboard access to the admin: menus that take the focus and return it, and the focus after an error. */
"use strict";

(() => {
  const FOCUSABLE = "a[href], button:not([disabled]), input:not([type=hidden]), select, textarea, [tabindex]:not([tabindex='-1'])";
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: false });
  const firstIn = (panel) => [...panel.querySelectorAll(FOCUSABLE)].find(isVisible);

  /* Alpine changes the page in a later task: wait until the panel has its final state. */
  const soon = (work) => setTimeout(() => requestAnimationFrame(work), 0);

  /* Django's change_form.js, which may arrive at any time before this, puts the focus on the first field of a new row. */
  const afterLoading = (work) => (document.readyState === "complete" ? work() : window.addEventListener("load", work, { once: true }));

  /* A panel that `opener` shows and hides. Escape, or leaving it with Tab, closes it; the focus goes in when it opens and back when it closes. */
  function disclosure({ opener, panel, close, isOverlay = () => true }) {
    const tell = () => opener.setAttribute("aria-expanded", String(isVisible(panel)));
    if (panel.id) opener.setAttribute("aria-controls", panel.id);
    opener.addEventListener("click", () =>
      soon(() => {
        tell();
        if (isVisible(panel) && isOverlay()) firstIn(panel)?.focus();
      }),
    );
    const shut = (focus) => {
      close();
      soon(() => {
        tell();
        focus?.focus();
      });
    };
    for (const element of [panel, opener]) {
      element.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || !isVisible(panel) || !isOverlay()) return;
        event.stopPropagation();
        shut(opener);
      });
    }
    panel.addEventListener("focusout", (event) => {
      const next = event.relatedTarget;
      if (next && next !== opener && !panel.contains(next) && isVisible(panel) && isOverlay()) shut(null);
    });
    document.addEventListener("click", () => soon(tell));
    soon(tell);
  }

  function userMenu() {
    const opener = document.getElementById("user-menu-button");
    const panel = document.getElementById("user-menu");
    if (opener && panel) disclosure({ opener, panel, close: () => opener.click() });
  }

  function navigation() {
    const opener = document.getElementById("navigation-button");
    const panel = document.getElementById("nav-sidebar");
    const isOverlay = () => !matchMedia("(min-width: 80rem)").matches;
    if (opener && panel) disclosure({ opener, panel, close: () => opener.click(), isOverlay });
  }

  function filters() {
    const opener = document.getElementById("filter-button");
    const panel = document.getElementById("changelist-filter");
    if (!opener || !panel) return;
    panel.setAttribute("role", "dialog");
    panel.setAttribute("aria-label", opener.innerText.trim().split("\n")[0]);
    const backdrop = document.getElementById("changelist-filter-close");
    disclosure({ opener, panel, close: () => backdrop.click() });
    const button = document.createElement("button");
    button.type = "button";
    button.className = "filter-close";
    button.textContent = "Close";
    button.addEventListener("click", () => {
      backdrop.click();
      soon(() => opener.focus());
    });
    (backdrop.nextElementSibling.querySelector(".flex-col") ?? panel).prepend(button);
  }

  function themeMenu() {
    const opener = document.getElementById("theme-button");
    const panel = document.getElementById("theme-menu");
    if (opener && panel) disclosure({ opener, panel, close: () => opener.click() });
  }

  /* The row's tools, behind a link with three dots on a narrow screen. */
  function tools() {
    for (const link of document.querySelectorAll("a[href='#'][x-on\\:click*=showActions]")) {
      link.setAttribute("role", "button");
      link.setAttribute("aria-label", "More actions");
      link.addEventListener("click", (event) => event.preventDefault());
      disclosure({ opener: link, panel: link.parentElement.querySelector("ul"), close: () => link.click(), isOverlay: () => isVisible(link) });
    }
  }

  /* What unfold makes clickable without making it a button. */
  function clickable() {
    for (const element of document.querySelectorAll("span[x-on\\:click], div[x-on\\:click], a[x-on\\:click]:not([href])")) {
      if (element.id === "changelist-filter-close") continue; // the backdrop: Escape does the same
      element.setAttribute("role", "button");
      element.tabIndex = 0;
      element.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        element.click();
      });
      const related = element.closest(".related-widget-wrapper");
      if (related) relatedMenu(element, related);
      else if (element.title) element.setAttribute("aria-label", element.title);
    }
  }

  /* Alpine moves the menu of a related field to the end of the page. */
  function relatedMenu(opener, wrapper) {
    opener.setAttribute("aria-label", "Add or change");
    const panel = document.querySelector(`nav[id='${wrapper.dataset.id}']`);
    if (panel) {
      panel.setAttribute("aria-label", "Add or change");
      disclosure({ opener, panel, close: () => opener.click() });
    }
  }

  const hasOnlyIcons = (control) =>
    [...control.childNodes].every((node) => !node.textContent.trim() || node.classList?.contains("material-symbols-outlined"));
  const nameOf = (control) => control.title || { "searchbar-submit": "Find" }[control.id] || (control.closest("#nav-sidebar") ? "Home" : "Open");

  /* The icons are letters of a font: a screen reader must not read their names. */
  function icons() {
    for (const icon of document.querySelectorAll(".material-symbols-outlined")) {
      if (icon.getAttribute("role") === "button") continue;
      icon.setAttribute("aria-hidden", "true");
      const control = icon.closest("a, button");
      if (control && !control.getAttribute("aria-label") && hasOnlyIcons(control)) control.setAttribute("aria-label", nameOf(control));
    }
    for (const flag of document.querySelectorAll("#result_list div[title] > .material-symbols-outlined")) {
      flag.parentElement.setAttribute("role", "img");
      flag.parentElement.setAttribute("aria-label", flag.parentElement.title);
    }
  }

  function invalidFields() {
    const names = new Map();
    for (const field of document.querySelectorAll("[aria-invalid=true]:not([type=hidden])")) {
      const label = field.labels?.[0]?.innerText || field.getAttribute("aria-label");
      if (field.id && label && !names.has(label)) names.set(label, field);
    }
    return names;
  }

  /* After a rejected form, focus the error message and add a link to each wrong field. */
  function focusError() {
    const note = document.querySelector(".errornote, main [role=alert]");
    if (!note) return;
    const fields = invalidFields();
    if (fields.size) {
      const list = document.createElement("ul");
      for (const [label, field] of fields) {
        const link = document.createElement("a");
        link.href = `#${field.id}`;
        link.textContent = label.replace(/\s*\*$/, "");
        link.addEventListener("click", (event) => {
          event.preventDefault();
          field.focus();
        });
        list.appendChild(document.createElement("li")).append(link);
      }
      note.append(list);
    }
    note.setAttribute("role", "alert");
    note.tabIndex = -1;
    note.focus();
  }

  document.addEventListener("alpine:initialized", () => {
    for (const part of [userMenu, navigation, filters, themeMenu, tools, clickable, icons]) part();
    afterLoading(() => soon(focusError)); // Alpine shows the page after this event
  });
})();
