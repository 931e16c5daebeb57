/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled behind cells.c. The integers of every cell of a block, and how far the affine form of the float
 * network can be from them: gaps.py in C, for networks so small that cells are sooner computed than told
 * apart. Nearly all cells are held against the bound so far in float32, with `slop` to spare; the few that
 * might be above it are done again in the numbers of gaps.py.
 */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#define TERMS (1 << 11) /* as in chain.py */

typedef struct {
  const part_t *parts;
  const double *under, *over; /* ends of every cell of an input, from the first one on */
  const double *low, *high;   /* of every integer of the outputs from the first one on, outward */
  const int64_t *column;      /* of an input in the first part's w, -1 if it does not move */
  const int64_t *output;      /* of an output in the last part, -1 if it does not move */
  const double *still;        /* integer less zero of outputs that do not */
  double limit, step, slop;
  int64_t depth, inputs, outputs, widest, begin, zero_in; /* the first cell's integer; what means 0 */
} grid_t;

/* A piece and its form: c + slope (x - middle) +- rest, slope and rest of every output. */
typedef struct {
  const int64_t *first, *last;
  const double *lower, *upper, *middle, *slope, *c, *rest;
  const grid_t *grid;
  double *along, *away; /* per input (span, outputs): what its integers add to the middle and to the radius */
  int64_t from[8], spans[8], inner; /* where an input's part of these starts; the cells of the inputs from
                                     * `inner` on are tables */
} piece_t;

/* Sums are whole numbers below 2^24, in whatever order, fused or not: exact. */
#if defined(__x86_64__) && defined(__GNUC__)
#define FUSED __attribute__((target("avx2,fma")))

static int fused(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

/* to (rows, BLOCK) = w (rows, columns) x from (columns, BLOCK). */
FUSED static void product_fused(const float *w, int64_t rows, int64_t columns, const float *from, float *to) {
  for (int64_t j = 0; j < rows; j += 2) {
    const float *one = w + j * columns, *two = one + (j + 1 < rows) * columns;
    float *row = to + j * BLOCK, *under = row + (j + 1 < rows) * BLOCK;
    for (int64_t i = 0; i < BLOCK; i += 32) {
      __m256 sum[4], other[4];
      for (int v = 0; v < 4; v++) sum[v] = other[v] = _mm256_setzero_ps();
      for (int64_t k = 0; k < columns; k++) {
        const __m256 a = _mm256_set1_ps(one[k]), b = _mm256_set1_ps(two[k]);
        for (int v = 0; v < 4; v++) {
          const __m256 x = _mm256_loadu_ps(from + k * BLOCK + i + 8 * v);
          sum[v] = _mm256_fmadd_ps(a, x, sum[v]), other[v] = _mm256_fmadd_ps(b, x, other[v]);
        }
      }
      for (int v = 0; v < 4; v++) {
        _mm256_storeu_ps(row + i + 8 * v, sum[v]);
        _mm256_storeu_ps(under + i + 8 * v, other[v]);
      }
    }
  }
}
#else
static int fused(void) { return 0; }
#define product_fused(w, rows, columns, from, to) ((void)0)
#endif

/* Sums (rows, BLOCK) rounded and clipped; integers less their zero. */
FAST static void settled(const part_t *p, float *to) {
  const layer_t *l = &p->law;
  const float lo = (float)(l->lo - l->zero), hi = (float)(l->hi - l->zero);
  for (int64_t j = 0; j < l->rows; j++)
    for (int64_t i = 0; i < BLOCK; i++) {
      const float q = (float)rint((double)(to[j * BLOCK + i] + (float)p->start[j]) * p->scale[j]);
      to[j * BLOCK + i] = q < lo ? lo : q > hi ? hi : q;
    }
}

/* The first layer's sums: what the outer inputs give and what the inner ones do, from tables. */
FAST static void summed(const float *base, const float *table, float *to, int64_t rows, int64_t apart) {
  for (int64_t j = 0; j < rows; j++)
    for (int64_t i = 0; i < BLOCK; i++) to[j * BLOCK + i] = base[j] + table[j * apart + i];
}

/* The largest |head + at - step q| + wide. */
FAST static float largest_of(const float *q, const float *at, const float *wide, float head, float step) {
  float gap[BLOCK];
  for (int64_t i = 0; i < BLOCK; i++) gap[i] = fabsf(head + at[i] - step * q[i]) + wide[i];
  for (int64_t half = BLOCK / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; i++) gap[i] = gap[i + half] > gap[i] ? gap[i + half] : gap[i];
  return gap[0];
}

/* What the integers at `place` add to a sum, one input after the other. */
static double added(const piece_t *p, const double *each, double sum, const int64_t *place, int64_t o) {
  for (int64_t i = 0; i < p->grid->inputs; i++)
    sum = sum + each[(p->from[i] + place[i]) * p->grid->outputs + o];
  return sum;
}

/* One output of one cell, in the numbers of gaps.py. */
static double exactly(const piece_t *p, const int64_t *place, int64_t o, int64_t q) {
  const double at = added(p, p->along, p->c[o], place, o);
  const double wide = added(p, p->away, p->rest[o], place, o) * (1 + RHO);
  return most(up(up(at + wide) - p->grid->low[q]), up(p->grid->high[q] - down(at - wide)));
}

static void place_of(const piece_t *p, int64_t cell, int64_t *place) {
  for (int64_t i = p->grid->inputs - 1; i >= 0; i--) place[i] = cell % p->spans[i], cell /= p->spans[i];
}

static void spread(const piece_t *p) {
  const grid_t *g = p->grid;
  for (int64_t i = 0; i < g->inputs; i++)
    for (int64_t n = 0; n < p->spans[i]; n++) {
      const int64_t cell = p->first[i] - g->begin + n;
      const double low = most(p->lower[i], g->under[cell]), high = least(p->upper[i], g->over[cell]);
      const double middle = 0.5 * low + 0.5 * high, far = up(most(high - middle, middle - low));
      for (int64_t o = 0; o < g->outputs; o++) {
        const double slope = p->slope[o * g->inputs + i];
        p->along[(p->from[i] + n) * g->outputs + o] = (middle - p->middle[i]) * slope;
        p->away[(p->from[i] + n) * g->outputs + o] = far * fabs(slope);
      }
    }
}

/* Sums of the first part over the inputs from `a` up to `b`. */
static void first_sums(const piece_t *p, const int64_t *at, int64_t a, int64_t b, float *to, int64_t apart) {
  const part_t *part = p->grid->parts;
  for (int64_t j = 0; j < part->law.rows; j++) {
    float sum = 0;
    for (int64_t i = a; i < b; i++)
      if (p->grid->column[i] >= 0)
        sum += ((const float *)part->w)[j * part->law.columns + p->grid->column[i]] *
               (float)(p->first[i] - p->grid->zero_in + at[i]);
    to[j * apart] = sum;
  }
}

/* Middle and radius that the inputs from `a` up to `b` add, about. */
static void about(const piece_t *p, const int64_t *at, int64_t a, int64_t b, int64_t o, float *sums) {
  double middle = 0, wide = 0;
  for (int64_t i = a; i < b; i++) {
    middle += p->along[(p->from[i] + at[i]) * p->grid->outputs + o];
    wide += p->away[(p->from[i] + at[i]) * p->grid->outputs + o];
  }
  sums[0] = (float)middle, sums[1] = (float)wide;
}

/* bound (outputs) and worst with its place: of the cells that are not above the limit in any output. open:
 * cells above it, at most `room`; how many there are, or -1. space: (widest + 2 * outputs) * tables + 2 *
 * widest * BLOCK, tables the cells of the inner inputs in whole BLOCKs. */
static int64_t gaps_of(const piece_t *p, double *bound, double *worst, int64_t *place, int64_t *open,
                       int64_t room, float *space) {
  const grid_t *g = p->grid;
  const part_t *first = g->parts, *last = g->parts + g->depth - 1;
  const int64_t rows = first->law.rows, quick = fused();
  int64_t size = 1, heads = 1, found = 0, at[8], cell[8];
  for (int64_t i = 0; i < g->inputs; i++) *(i < p->inner ? &heads : &size) *= p->spans[i];
  const int64_t apart = (size + BLOCK - 1) / BLOCK * BLOCK;
  float *table = space, *from = table + g->widest * apart, *to = from + g->widest * BLOCK, *swap;
  float *along = to + g->widest * BLOCK, *away = along + g->outputs * apart, sums[2];
  float base[TERMS];
  for (int64_t k = 0; k < apart; k++) { /* behind the last cell there are only copies of it */
    place_of(p, k < size ? k : size - 1, at);
    first_sums(p, at, p->inner, g->inputs, table + k, apart);
    for (int64_t o = 0; o < g->outputs; o++) {
      about(p, at, p->inner, g->inputs, o, sums);
      along[o * apart + k] = sums[0], away[o * apart + k] = sums[1];
    }
  }
  for (int64_t head = 0; head < heads; head++) {
    place_of(p, head * size, at);
    first_sums(p, at, 0, p->inner, base, 1);
    for (int64_t start = 0; start < size; start += BLOCK) {
      const int64_t n = size - start < BLOCK ? size - start : BLOCK;
      summed(base, table + start, from, rows, apart);
      settled(first, from);
      for (const part_t *part = first + 1; part <= last; part++) {
        if (quick)
          product_fused(part->w, part->law.rows, part->law.columns, from, to);
        else
          product_of_floats(part->w, part->law.rows, part->law.columns, from, to, BLOCK, BLOCK);
        settled(part, to);
        swap = from, from = to, to = swap;
      }
      int suspect = 0;
      for (int64_t o = 0; o < g->outputs; o++) {
        const int64_t here = o * apart + start;
        const float *q = from + g->output[o] * BLOCK;
        if (g->output[o] < 0) {
          for (int64_t i = 0; i < BLOCK; i++) to[i] = (float)g->still[o];
          q = to;
        }
        about(p, at, 0, p->inner, o, sums);
        const float top = largest_of(q, along + here, away + here, (float)p->c[o] + sums[0], (float)g->step);
        suspect |= !(top + sums[1] + p->rest[o] + g->slop < bound[o]);
      }
      if (!suspect) continue;
      for (int64_t i = 0; i < n; i++) {
        double gaps[TERMS], largest = 0;
        place_of(p, head * size + start + i, cell);
        for (int64_t o = 0; o < g->outputs; o++) {
          const float q = g->output[o] < 0 ? (float)g->still[o] : from[g->output[o] * BLOCK + i];
          gaps[o] = exactly(p, cell, o, (int64_t)q - (last->law.lo - last->law.zero));
          largest = most(largest, gaps[o]);
        }
        if (largest > g->limit) {
          if (found == room) return -1;
          open[found++] = head * size + start + i;
          continue;
        }
        for (int64_t o = 0; o < g->outputs; o++) bound[o] = most(bound[o], gaps[o]);
        if (largest > *worst) *worst = largest, *place = head * size + start + i;
      }
    }
  }
  return found;
}

/* Of every piece (count) what gaps_of finds: bound (count, outputs), worst, place, found (count); open
 * (count, room). tables: 4 * outputs * the largest sum of a piece's spans. */
void tb_gaps(const grid_t *g, int64_t count, int64_t inner, const int64_t *first, const int64_t *last,
             const double *lower, const double *upper, const double *middle, const double *slope,
             const double *c, const double *rest, double *bound, double *worst, int64_t *place,
             int64_t *found, int64_t *open, int64_t room, double *tables, float *space) {
  const int64_t d = g->inputs, outs = g->outputs;
  for (int64_t k = 0; k < count; k++) {
    piece_t p = {first + k * d, last + k * d, lower + k * d, upper + k * d, middle + k * d,
                 slope + k * outs * d, c + k * outs, rest + k * outs, g, tables, tables, {0}, {0}, d - 1};
    int64_t all = 0, cells = 1;
    for (int64_t i = 0; i < d; i++) {
      p.spans[i] = p.last[i] - p.first[i] + 1;
      p.from[i] = all, all += p.spans[i];
    }
    p.away = tables + all * outs;
    for (int64_t i = d - 1; i >= 0 && (cells *= p.spans[i]) <= inner; i--) p.inner = i;
    spread(&p);
    found[k] = gaps_of(&p, bound + k * outs, worst + k, place + k, open + k * room, room, space);
  }
}
