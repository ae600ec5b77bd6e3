"use strict";
// Lays the images of each comparison over each other and moves the edge between two of them.
for (const compare of document.querySelectorAll(".compare")) {
  const stage = compare.querySelector(".stage");
  const bar = compare.querySelector(".bar");
  const figures = [...stage.querySelectorAll("figure")];
  const [left, right] = ["left", "right"].map((side) => compare.querySelector(`select.${side}`));

  function move(value) {
    const place = Math.round(Math.min(Math.max(value, 0), 100));
    bar.setAttribute("aria-valuenow", String(place));
    bar.style.left = `${place}%`;
    draw();
  }

  function draw() {
    const place = Number(bar.getAttribute("aria-valuenow"));
    const shown = [left, right].map((pick) => Number(pick.value));
    figures.forEach((figure, i) => {
      figure.classList.toggle("left", i === shown[0]);
      figure.classList.toggle("right", i === shown[1]);
      const alone = shown[0] === shown[1];
      figure.style.clipPath = i === shown[0] && !alone ? `inset(0 ${100 - place}% 0 0)` : "none";
    });
    const names = shown.map((i) => figures[i].querySelector("figcaption").textContent);
    bar.setAttribute("aria-valuetext", `${place} % ${names[0]}, ${100 - place} % ${names[1]}`);
  }

  function follow(event) {
    const box = stage.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    bar.focus({ preventScroll: true });
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  bar.addEventListener("keydown", (event) => {
    const now = Number(bar.getAttribute("aria-valuenow"));
    const to = {
      ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2,
      PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
  for (const pick of [left, right]) pick.addEventListener("change", draw);

  for (const part of [bar, compare.querySelector(".pick")]) part.hidden = false;
  compare.classList.add("live");
  move(50);
}
