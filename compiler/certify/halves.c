/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled behind gaps.c. A box of cells is halved until a part is bounded as a whole, by the numbers of
 * between.py, or is so small that its cells are counted off: halves.py in C.
 */

#define SIDES 8
#define SLOP 0x1p-19 /* of the numbers that a gap is the sum of: more than float32 loses in it */
#define DEEP 160 /* halvings of one box: 16 of each input, and a few */

/* Both sums of a layer as in between.py; `both`: |v| + |w|; shift: c - b; add: |b| + |c|. */
typedef struct {
  const double *w, *size, *v, *v_size, *e, *e_size, *both, *b, *shift, *add, *half;
  double a, c, low, high;
  int64_t rows, columns;
} sums_t;

/* far: how far x may be from its integer; reach: the largest integer of the outputs, in real units; apart:
 * numbers of a row of symbols; small: cells that are counted, at least
 * `least` also where the form is rougher than `rough`; dear: cells that a part or a cell alone is as
 * much work as; work, most: what one box may take, and how many cells above the limit. */
typedef struct {
  const grid_t *grid;
  const layer_t *layers;
  const double *const *sizes;
  const sums_t *sums;
  double scale, far, reach, rough;
  int64_t zero, neurons, apart, small, least, dear, work, most;
} halving_t;

/* Rows of x and of d: a centre, then symbols; what is left over of both. */
typedef struct {
  double *x, *d, *rx, *rd;
} twin_t;

/* How far x, d and x + d are from their middles. */
static void wide_of(const twin_t *t, int64_t j, int64_t apart, int64_t symbols, double *wide) {
  const double *x = t->x + j * apart + 1, *d = t->d + j * apart + 1;
  double one = 0, other = 0, both = 0;
  for (int64_t k = 0; k < symbols; k++) {
    one += fabs(x[k]), other += fabs(d[k]), both += fabs(x[k] + d[k]);
  }
  wide[0] = (one + t->rx[j]) * (1 + RHO);
  wide[1] = (other + t->rd[j]) * (1 + RHO);
  wide[2] = (both + (t->rx[j] + t->rd[j])) * (1 + RHO);
}

static void entered(const halving_t *h, const int64_t *first, const int64_t *last, const double *lower,
                    const double *upper, const twin_t *t) {
  const grid_t *g = h->grid;
  const double scale = h->scale;
  const int64_t n = g->inputs;
  for (int64_t i = 0; i < n; i++) {
    double ends[2], *x = t->x + i * h->apart, *d = t->d + i * h->apart;
    for (int k = 0; k < 2; k++) {
      const int64_t q = k ? first[i] : last[i];
      const double sign = k ? -1 : 1;
      const double inside = clip(k ? lower[i] : upper[i], g->under[q - g->begin], g->over[q - g->begin]);
      double gap = scale * (double)(q - h->zero) - inside;
      gap = gap - sign * 8 * U * (fabs(inside) + fabs(gap));
      ends[k] = first[i] < last[i] ? sign * least(sign * gap, -h->far) : gap;
    }
    const double cd = 0.5 * ends[0] + 0.5 * ends[1], rest = up(most(ends[1] - cd, cd - ends[0]));
    const double cy = scale * (0.5 * (double)(first[i] + last[i]) - (double)h->zero);
    const double wide = scale * (0.5 * (double)(last[i] - first[i]));
    memset(x, 0, (size_t)h->apart * sizeof *x), memset(d, 0, (size_t)h->apart * sizeof *d);
    x[0] = cy - cd, x[1 + i] = wide, x[1 + n + i] = -rest;
    d[0] = cd, d[1 + n + i] = rest;
    t->rx[i] = WIDE * 16 * U * (fabs(cy) + wide + fabs(cd) + rest) + TINY, t->rd[i] = 0;
  }
}

static double dot(const double *w, const double *x, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += w[k] * x[k];
  return sum;
}

/* spare: rows of symbols, and four vectors. */
FAST static void sums_of(const sums_t *s, const twin_t *t, const twin_t *to, int64_t apart, int64_t symbols,
                         double *spare, int64_t widest) {
  const int64_t rows = s->rows, n = s->columns;
  const double share = WIDE * 1.01 * (double)(2 * n + 16) * U;
  double *size = spare + widest * apart, *tx = size + widest, *td = tx + widest, wide[3];
  for (int64_t k = 0; k < n; k++) {
    wide_of(t, k, apart, symbols, wide);
    size[k] = fabs(t->x[k * apart]) + wide[0];
    tx[k] = t->rx[k] + share * size[k];
    td[k] = t->rd[k] + share * (fabs(t->d[k * apart]) + wide[1]);
  }
  product(s->w, rows, n, t->x, to->x, 1 + symbols, apart);
  product(s->v, rows, n, t->d, to->d, 1 + symbols, apart);
  product(s->e, rows, n, t->x, spare, 1 + symbols, apart);
  for (int64_t j = 0; j < rows; j++) {
    double *d = to->d + j * apart, *e = spare + j * apart;
    for (int64_t k = 0; k <= symbols; k++) d[k] = d[k] + e[k];
    d[0] = d[0] + s->shift[j];
    to->x[j * apart] += s->b[j];
    to->rx[j] = (dot(s->size + j * n, tx, n) + share * fabs(s->b[j])) * (1 + RHO) + TINY;
    double rd = dot(s->v_size + j * n, td, n) + dot(s->e_size + j * n, t->rx, n);
    rd = rd + share * (dot(s->both + j * n, size, n) + s->add[j]);
    to->rd[j] = rd * (1 + RHO) + TINY;
  }
}

/* clip(v, a, c) = lam v + mid +- half. */
static void chord(double low, double high, double a, double c, double *lam, double *mid, double *half) {
  const int kept = low >= a && high <= c, fixed = high <= a || low >= c;
  if (kept || fixed) {
    *lam = kept, *mid = kept ? 0 : high <= a ? a : c, *half = 0;
    return;
  }
  *lam = clip((clip(high, a, c) - clip(low, a, c)) / (high > low ? high - low : 1), 0, 1);
  const double kinks[4] = {low, high, clip(a, low, high), clip(c, low, high)};
  double top = -INFINITY, under = INFINITY;
  for (int i = 0; i < 4; i++) {
    const double rest = clip(kinks[i], a, c) - *lam * kinks[i];
    top = most(top, rest), under = least(under, rest);
  }
  *mid = 0.5 * top + 0.5 * under;
  *half = most(top - *mid, *mid - under) + WIDE * 32 * U * most(fabs(low), fabs(high));
}

FAST static void steps_of(const sums_t *s, const twin_t *t, int64_t apart, int64_t symbols) {
  for (int64_t j = 0; j < s->rows; j++) {
    double *x = t->x + j * apart, *d = t->d + j * apart, wide[3], lam, mid, bend, py, may, noise;
    wide_of(t, j, apart, symbols, wide);
    const double lower = down(x[0] - wide[0]), upper = up(x[0] + wide[0]), half = s->half[j];
    const double low = down(x[0] + d[0] - wide[2]), high = up(x[0] + d[0] + wide[2]);
    chord(lower, upper, s->a, s->c, &lam, &mid, &bend);
    chord(low, high, s->low, s->high, &py, &may, &noise);
    const int still = up(high + half) <= s->low || down(low - half) >= s->high;
    if (still)
      py = 0, may = low > s->low ? s->high : s->low, noise = 0;
    else
      noise = noise + half;
    const double spread = fabs(d[0]) + wide[1], shared = up(0.5 * spread + half);
    const int same = s->a == 0 && s->low == 0 && upper <= s->c && up(high + half) <= s->high;
    const int share = same && !still && shared < bend + noise;
    const double px = share ? 0 : py - lam;
    if (share) py = 0.5, noise = shared;
    const double size = fabs(x[0]) + wide[0] + fabs(d[0]) + wide[1];
    const double more = WIDE * 32 * U * (size + fabs(mid) + fabs(may) + bend + noise) + TINY;
    for (int64_t k = 0; k <= symbols; k++) d[k] = py * d[k] + px * x[k], x[k] = lam * x[k];
    d[0] = d[0] + (share ? 0 : may - mid), x[0] = x[0] + mid;
    memset(x + 1 + symbols, 0, (size_t)(2 * s->rows) * sizeof *x);
    memset(d + 1 + symbols, 0, (size_t)(2 * s->rows) * sizeof *d);
    x[1 + symbols + j] = bend;
    d[1 + symbols + j] = share ? 0 : -bend, d[1 + symbols + s->rows + j] = noise;
    t->rd[j] = py * t->rd[j] + fabs(px) * t->rx[j] + more;
    t->rx[j] = lam * t->rx[j] + more;
  }
}

/* Of a part as a whole: |y - x| at most, per output. room: 5 * widest * apart + 8 * widest. */
static void between(const halving_t *h, const int64_t *first, const int64_t *last, const double *lower,
                    const double *upper, double *found, double *room, int64_t widest) {
  const grid_t *g = h->grid;
  const int64_t apart = h->apart, block = widest * apart;
  double *ends = room + 4 * block;
  twin_t t = {room, room + block, ends, ends + widest}, swap;
  twin_t to = {room + 2 * block, room + 3 * block, ends + 2 * widest, ends + 3 * widest};
  double *spare = ends + 4 * widest, wide[3];
  int64_t symbols = 2 * g->inputs;
  entered(h, first, last, lower, upper, &t);
  for (int64_t at = 0; at < g->depth; at++) {
    sums_of(h->sums + at, &t, &to, apart, symbols, spare, widest);
    steps_of(h->sums + at, &to, apart, symbols);
    symbols += 2 * h->sums[at].rows;
    swap = t, t = to, to = swap;
  }
  for (int64_t o = 0; o < g->outputs; o++) {
    wide_of(&t, o, apart, symbols, wide);
    found[o] = up((fabs(t.d[o * apart]) + wide[1]) * (1 + RHO));
  }
}

/* What was found: bounds of the parts that were bounded as a whole, and of the cells of the others; the worst
 * of these cells; cells above the limit, all inputs of each. */
typedef struct {
  double *whole, *bound, worst;
  int64_t *cell, *open, found, work;
} found_t;

static int before(const int64_t *a, const int64_t *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (a[i] != b[i]) return a[i] < b[i];
  return 0;
}

/* The cells of a part by its affine form: 1; 2 where it is too rough, 0 where too many are left open. spot:
 * places of `most` cells; form: outputs * (2 + 3 * inputs) + inputs. */
static int counted(const halving_t *h, const int64_t *first, const int64_t *last, const double *lower,
                   const double *upper, found_t *f, int64_t *spot, double *form, double *tables, double *room,
                   float *space, int64_t widest) {
  grid_t g = *h->grid;
  const int64_t n = g.inputs, outs = g.outputs;
  double *c = form, *r = c + outs, *slope = r + outs, *lip = slope + outs * n, *score = lip + outs * n;
  double *middle = score + outs * n, far[SIDES], size = 0, worst = 0;
  int64_t place = -1, cells = 1, all = 0, count = 1, rough = 0;
  tb_linear(h->layers, h->sizes, g.depth, 1, widest, h->neurons, lower, upper, c, slope, r, lip, score, room);
  for (int64_t o = 0; o < outs; o++) rough |= r[o] > h->rough;
  for (int64_t i = 0; i < n; i++) count *= last[i] - first[i] + 1;
  if (rough && count > h->least) return 2;
  f->work += count;
  for (int64_t i = 0; i < n; i++) {
    middle[i] = 0.5 * lower[i] + 0.5 * upper[i];
    far[i] = up(most(upper[i] - middle[i], middle[i] - lower[i]));
  }
  for (int64_t o = 0; o < outs; o++) {
    double sum = 0, sway = 0;
    for (int64_t i = 0; i < n; i++) {
      double *each = slope + o * n + i;
      sum += fabs(*each);
      *each = far[i] > 0 ? *each / far[i] : 0;
      sway += fabs(*each) * far[i];
    }
    r[o] = r[o] + WIDE * (double)(n + 16) * U * (fabs(c[o]) + sum + r[o]);
    size = most(size, fabs(c[o]) + r[o] + 2 * sway);
  }
  g.slop = SLOP * (size + h->reach);
  piece_t p = {first, last, lower, upper, middle, slope, c, r, &g, tables, tables, {0}, {0}, n - 1};
  for (int64_t i = 0; i < n; i++) p.spans[i] = last[i] - first[i] + 1, p.from[i] = all, all += p.spans[i];
  p.away = tables + all * outs;
  for (int64_t i = n - 1; i >= 0 && (cells *= p.spans[i]) <= BLOCK; i--) p.inner = i;
  spread(&p);
  const int64_t more = gaps_of(&p, f->bound, &worst, &place, spot, h->most - f->found, space);
  if (more < 0) return 0;
  int64_t at[SIDES];
  for (int64_t k = 0; k < more; k++) {
    place_of(&p, spot[k], at);
    for (int64_t i = 0; i < n; i++) f->open[(f->found + k) * n + i] = first[i] + at[i];
  }
  f->found += more, f->work += more * h->dear;
  if (place < 0) return 1;
  place_of(&p, place, at);
  for (int64_t i = 0; i < n; i++) at[i] += first[i];
  if (worst > f->worst || (worst == f->worst && before(at, f->cell, n))) {
    f->worst = worst;
    memcpy(f->cell, at, (size_t)n * sizeof *at);
  }
  return 1;
}

/* One box. 0 where it takes more than it may. */
static int halved(const halving_t *h, const int64_t *first, const int64_t *last, const double *lower,
                  const double *upper, found_t *f, int64_t *spot, double *form, double *tables, double *room,
                  float *space, int64_t widest) {
  const grid_t *g = h->grid;
  const int64_t n = g->inputs;
  int64_t ends[DEEP][2][SIDES], waiting = 1;
  double low[SIDES], high[SIDES], *found = form;
  memcpy(ends[0][0], first, (size_t)n * sizeof *first), memcpy(ends[0][1], last, (size_t)n * sizeof *last);
  while (waiting > 0) {
    int64_t *a = ends[--waiting][0], *b = ends[waiting][1], count = 1, widest_at = 0;
    int above = 0;
    f->work += h->dear;
    if (f->work > h->work) return 0;
    for (int64_t i = 0; i < n; i++) {
      low[i] = most(lower[i], g->under[a[i] - g->begin]), high[i] = least(upper[i], g->over[b[i] - g->begin]);
      count *= b[i] - a[i] + 1;
      if (b[i] - a[i] > b[widest_at] - a[widest_at]) widest_at = i;
    }
    between(h, a, b, low, high, found, room, widest);
    for (int64_t o = 0; o < g->outputs; o++) above |= !(found[o] <= g->limit);
    if (!above) {
      for (int64_t o = 0; o < g->outputs; o++) f->whole[o] = most(f->whole[o], found[o]);
      continue;
    }
    int state = 2;
    if (count <= h->small) state = counted(h, a, b, low, high, f, spot, form, tables, room, space, widest);
    if (state == 0) return 0;
    if (state == 2) {
      const int64_t middle = a[widest_at] + (b[widest_at] - a[widest_at]) / 2;
      memcpy(ends[waiting + 1], ends[waiting], sizeof ends[0]);
      ends[waiting][1][widest_at] = middle, ends[waiting + 1][0][widest_at] = middle + 1;
      waiting += 2;
    }
  }
  return f->work <= h->work;
}

/* Of every box (count): whole, bound (count, outputs), worst, cell (count, inputs), tally (count, 2): how
 * many cells are above the limit, or -1, and the work; open (count, most, inputs). */
void tb_halved(const halving_t *h, int64_t count, int64_t widest, const int64_t *first, const int64_t *last,
               const double *lower, const double *upper, double *whole, double *bound, double *worst,
               int64_t *cell, int64_t *tally, int64_t *open, int64_t *spot, double *form, double *tables,
               double *room, float *space) {
  const int64_t n = h->grid->inputs, outs = h->grid->outputs;
  for (int64_t k = 0; k < count; k++) {
    found_t f = {whole + k * outs, bound + k * outs, 0, cell + k * n, open + k * h->most * n, 0, 0};
    const int done = halved(h, first + k * n, last + k * n, lower + k * n, upper + k * n, &f, spot, form,
                            tables, room, space, widest);
    worst[k] = f.worst, tally[2 * k] = done ? f.found : -1, tally[2 * k + 1] = f.work;
  }
}
