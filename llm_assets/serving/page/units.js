// Quantities as people read them.

import { number } from "./dom.js";

const SIZES = ["bytes", "kB", "MB", "GB", "TB"];
const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z"];

// Seconds as "1.2 s", "3 min 20 s" or "5 h 2 min".
export function duration(seconds) {
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${number(Math.floor(whole / 3600))} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function size(bytes) {
  return scaled(bytes, SIZES, " ");
}

// A count such as of parameters or FLOPs, with a prefix of the SI: "1.1 M".
export function count(value) {
  return scaled(value, PREFIXES, " ").trim();
}

function scaled(value, units, gap) {
  const place = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${number(value / 1000 ** place, place ? 1 : 0)}${gap}${units[place]}`;
}
