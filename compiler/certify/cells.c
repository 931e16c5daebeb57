/* SPDX-License-Identifier: Apache-2.0
 *
 * linear.py and points.py in C: the same operations in the same order, and so the same numbers. Compile
 * without contraction to fused operations. The caller gives room for all intermediate values.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64 /* inputs at a time */
#define LANES 16 /* sums that stay in registers */
#define U 0x1p-53
#define RHO 0x1p-40
#define TINY 0x1p-1000
#define WIDE 4

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FAST __attribute__((target_clones("default", "avx2"))) /* AVX2 without fused operations */
#else
#define FAST
#endif
#ifdef __GNUC__
#define PREFETCH(place) __builtin_prefetch(place)
#else
#define PREFETCH(place) (void)(place)
#endif

__extension__ typedef __int128 wide_t;

typedef struct {
  const double *w, *b, *counts, *bias;
  const int64_t *m, *s;
  double a, c;
  int64_t rows, columns, zero_in, zero, lo, hi, mode; /* 0 half-even, 1 tflite-single, 2 tflite-double */
} layer_t;

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }
static double clip(double v, double a, double c) { return least(most(v, a), c); }
static double down(double v) { return v - 4 * U * fabs(v); }
static double up(double v) { return v + 4 * U * fabs(v); }

/* out (rows, n) = w (rows, columns) x (columns, n), term after term; rows of x and out are `apart`. Two rows of
 * w share what is read of x. */
#define PRODUCT(name, real)                                                                                  \
  FAST static void name(const real *w, int64_t rows, int64_t columns, const real *x, real *out, int64_t n,   \
                        int64_t apart) {                                                                     \
    for (int64_t j = 0; j < rows; j += 2) {                                                                  \
      const int64_t next = j + 1 < rows;                                                                     \
      const real *one = w + j * columns, *two = one + next * columns;                                        \
      real *to = out + j * apart, *under = to + next * apart;                                                \
      int64_t i = 0;                                                                                         \
      for (; i + LANES <= n; i += LANES) {                                                                   \
        real sum[LANES] = {0}, other[LANES] = {0};                                                           \
        for (int64_t k = 0; k < columns; k++)                                                                \
          for (int v = 0; v < LANES; v++) {                                                                  \
            sum[v] += one[k] * x[k * apart + i + v];                                                         \
            other[v] += two[k] * x[k * apart + i + v];                                                       \
          }                                                                                                  \
        memcpy(to + i, sum, sizeof sum);                                                                     \
        memcpy(under + i, other, sizeof other);                                                              \
      }                                                                                                      \
      for (; i < n; i++) {                                                                                   \
        real sum = 0, other = 0;                                                                             \
        for (int64_t k = 0; k < columns; k++) {                                                              \
          sum += one[k] * x[k * apart + i];                                                                  \
          other += two[k] * x[k * apart + i];                                                                \
        }                                                                                                    \
        to[i] = sum, under[i] = other;                                                                       \
      }                                                                                                      \
    }                                                                                                        \
  }

PRODUCT(product, double)
PRODUCT(product_of_floats, float)

static int64_t requantised(const layer_t *l, int64_t j, int64_t acc) {
  const int64_t s = l->s[j];
  const wide_t one = 1, value = (wide_t)acc * l->m[j];
  wide_t nudge = (one << s) >> 1;
  if (l->mode == 0 && s > 0) nudge -= 1 - ((value >> s) & 1);
  if (l->mode == 2 && s > 31) nudge += value < -(one << 30) ? -(one << 30) : one << 30;
  const int64_t q = (int64_t)((value + nudge) >> s) + l->zero;
  return q < l->lo ? l->lo : q > l->hi ? l->hi : q;
}

/* x, q (count, inputs); real, whole (count, outputs); room: 2 * widest * BLOCK. */
void tb_points(const layer_t *layers, int64_t depth, int64_t count, int64_t widest, const double *x,
               const int64_t *q, double *real, int64_t *whole, double *room) {
  const int64_t inputs = layers[0].columns, outputs = layers[depth - 1].rows;
  for (int64_t start = 0; start < count; start += BLOCK) {
    const int64_t n = count - start < BLOCK ? count - start : BLOCK;
    double *from = room, *to = room + widest * BLOCK, *swap;
    for (int64_t k = 0; k < inputs; k++)
      for (int64_t i = 0; i < n; i++) from[k * BLOCK + i] = x[(start + i) * inputs + k];
    for (const layer_t *l = layers; l < layers + depth; l++) {
      product(l->w, l->rows, l->columns, from, to, n, BLOCK);
      for (int64_t j = 0; j < l->rows; j++)
        for (int64_t i = 0; i < n; i++) to[j * BLOCK + i] = clip(to[j * BLOCK + i] + l->b[j], l->a, l->c);
      swap = from, from = to, to = swap;
    }
    for (int64_t j = 0; j < outputs; j++)
      for (int64_t i = 0; i < n; i++) real[(start + i) * outputs + j] = from[j * BLOCK + i];
    for (int64_t k = 0; k < inputs; k++)
      for (int64_t i = 0; i < n; i++) from[k * BLOCK + i] = (double)q[(start + i) * inputs + k];
    for (const layer_t *l = layers; l < layers + depth; l++) {
      for (int64_t k = 0; k < l->columns; k++)
        for (int64_t i = 0; i < n; i++) from[k * BLOCK + i] -= (double)l->zero_in;
      product(l->counts, l->rows, l->columns, from, to, n, BLOCK);
      for (int64_t j = 0; j < l->rows; j++)
        for (int64_t i = 0; i < n; i++)
          to[j * BLOCK + i] = (double)requantised(l, j, (int64_t)(to[j * BLOCK + i] + l->bias[j]));
      swap = from, from = to, to = swap;
    }
    for (int64_t j = 0; j < outputs; j++)
      for (int64_t i = 0; i < n; i++) whole[(start + i) * outputs + j] = (int64_t)from[j * BLOCK + i];
  }
}

/* One box: rows of [centre, symbols, Jacobian's middle], `apart` numbers each, and of [remainder, Jacobian's
 * radius]. */
typedef struct {
  double *x, *r;
  int64_t inputs, symbols, apart;
} form_t;

static double radius(const form_t *f, int64_t j) {
  const double *g = f->x + j * f->apart + 1;
  double sum = 0;
  for (int64_t k = 0; k < f->symbols; k++) sum += fabs(g[k]);
  return (sum + f->r[j * (1 + f->inputs)]) * (1 + RHO);
}

/* The Jacobian's middle lies before the symbols, so that new ones are appended. */
static double *jacobian(const form_t *f, int64_t j) { return f->x + (j + 1) * f->apart - f->inputs; }

static void affine(const layer_t *l, const double *size, const form_t *f, const form_t *to) {
  const int64_t d = f->inputs, n = 1 + d;
  const double share = WIDE * 1.01 * (double)(l->columns + 16) * U;
  for (int64_t k = 0; k < l->columns; k++) {
    double *r = f->r + k * n;
    r[0] = r[0] + share * (fabs(f->x[k * f->apart]) + radius(f, k));
    for (int64_t i = 0; i < d; i++) r[1 + i] = r[1 + i] + share * (fabs(jacobian(f, k)[i]) + r[1 + i]);
  }
  product(size, l->rows, l->columns, f->r, to->r, n, n);
  product(l->w, l->rows, l->columns, f->x, to->x, 1 + f->symbols, f->apart);
  product(l->w, l->rows, l->columns, jacobian(f, 0), jacobian(to, 0), d, f->apart);
  for (int64_t j = 0; j < l->rows; j++) {
    to->x[j * f->apart] += l->b[j];
    to->r[j * n] = (to->r[j * n] + share * fabs(l->b[j])) * (1 + RHO) + TINY;
    for (int64_t i = 1; i < n; i++) to->r[j * n + i] = to->r[j * n + i] * (1 + RHO) + TINY;
  }
}

/* One element behind its clip; the size of its new symbol, or a negative number if it has none. */
static double clipped(const form_t *f, int64_t j, double a, double c, double rad) {
  const int64_t d = f->inputs;
  double *x = f->x + j * f->apart, *r = f->r + j * (1 + d), *jc = jacobian(f, j);
  const double l = down(x[0] - rad), u = up(x[0] + rad);
  if (l >= a && u <= c) return -1;
  if (u <= a || l >= c) {
    memset(x, 0, (size_t)f->apart * sizeof *x);
    memset(r, 0, (size_t)(1 + d) * sizeof *r);
    x[0] = u <= a ? a : c;
    return -1;
  }
  const double lam = clip((clip(u, a, c) - clip(l, a, c)) / (u - l), 0.0, 1.0);
  const double kinks[4] = {l, u, clip(a, l, u), clip(c, l, u)};
  double top = -INFINITY, low = INFINITY;
  for (int i = 0; i < 4; i++) {
    const double rest = clip(kinks[i], a, c) - lam * kinks[i];
    top = most(top, rest), low = least(low, rest);
  }
  const double mid = 0.5 * top + 0.5 * low;
  const double half = most(top - mid, mid - low) + WIDE * 32 * U * most(fabs(l), fabs(u));
  const double more = WIDE * 16 * U * (lam * (fabs(x[0]) + rad) + fabs(mid) + half) + TINY;
  r[0] = lam * r[0] * (1 + RHO) + more;
  x[0] = lam * x[0] + mid;
  for (int64_t k = 1; k <= f->symbols; k++) x[k] = lam * x[k];
  for (int64_t i = 0; i < d; i++) {
    const double under = least(0.0, down(jc[i] - r[1 + i])), over = most(0.0, up(jc[i] + r[1 + i]));
    jc[i] = 0.5 * under + 0.5 * over;
    r[1 + i] = most(over - jc[i], jc[i] - under) * (1 + RHO);
  }
  return half;
}

/* Numbers of `room` for one box. */
int64_t tb_room(int64_t inputs, int64_t widest, int64_t neurons) {
  const int64_t apart = 1 + 2 * inputs + neurons;
  return 2 * widest * (apart + 1 + inputs) + neurons * (inputs + 1);
}

/* lower, upper (boxes, inputs). Out: c, r (boxes, outputs); g, lip, score (boxes, outputs, inputs).
 * sizes: |w| of every layer. */
void tb_linear(const layer_t *layers, const double *const *sizes, int64_t depth, int64_t boxes,
               int64_t widest, int64_t neurons, const double *lower, const double *upper, double *c,
               double *g, double *r, double *lip, double *score, double *room) {
  const int64_t d = layers[0].columns, outputs = layers[depth - 1].rows, apart = 1 + 2 * d + neurons;
  for (int64_t box = 0; box < boxes; box++) {
    form_t f = {room, room + 2 * widest * apart, d, d, apart}, to = f, swap;
    to.x += widest * apart, to.r += widest * (1 + d);
    double *cause = room + 2 * widest * (apart + 1 + d), *rads = cause + neurons * d;
    memset(room, 0, (size_t)(2 * widest * (apart + 1 + d)) * sizeof *room);
    for (int64_t i = 0; i < d; i++) {
      const double low = lower[box * d + i], high = upper[box * d + i], m = 0.5 * low + 0.5 * high;
      f.x[i * apart] = m;
      f.x[i * apart + 1 + i] = up(most(high - m, m - low));
      jacobian(&f, i)[i] = 1;
    }
    for (int64_t at = 0; at < depth; at++) {
      const layer_t *l = layers + at;
      to.symbols = f.symbols;
      affine(l, sizes[at], &f, &to);
      swap = f, f = to, to = swap;
      for (int64_t j = 0; j < l->rows; j++) rads[j] = radius(&f, j);
      for (int64_t j = 0; j < l->rows; j++)
        memset(f.x + j * apart + 1 + f.symbols, 0, (size_t)(apart - 1 - d - f.symbols) * sizeof *f.x);
      int64_t symbols = f.symbols;
      for (int64_t j = 0; j < l->rows; j++) {
        double *x = f.x + j * apart, *part = cause + (symbols - d) * d, before[8];
        for (int64_t i = 0; i < d; i++) before[i] = fabs(x[1 + i]) / most(rads[j], TINY);
        const double half = clipped(&f, j, l->a, l->c, rads[j]);
        if (half < 0) continue;
        memcpy(part, before, (size_t)d * sizeof *part);
        x[1 + symbols++] = half;
      }
      f.symbols = symbols;
    }
    for (int64_t j = 0; j < outputs; j++) {
      const double *x = f.x + j * apart + 1, *other = x + d;
      const int64_t here = (box * outputs + j) * d, fresh = f.symbols - d;
      double sum = 0;
      for (int64_t k = 0; k < fresh; k++) sum += fabs(other[k]);
      c[box * outputs + j] = x[-1];
      r[box * outputs + j] = (sum + f.r[j * (1 + d)]) * (1 + RHO);
      for (int64_t i = 0; i < d; i++) {
        double each = 0;
        for (int64_t k = 0; k < fresh; k++) each += fabs(other[k]) * cause[k * d + i];
        g[here + i] = x[i];
        lip[here + i] = up(fabs(jacobian(&f, j)[i]) + f.r[j * (1 + d) + 1 + i]);
        score[here + i] = each;
      }
    }
  }
}

/* What can move of a layer; with `exact`, scale = m / 2^s and every product with it is a double. Sums are whole
 * numbers: with `small`, all of them are floats, and w too. Keys are rows of integers as int16. */
typedef struct {
  const void *w;
  const double *start, *scale;
  layer_t law; /* of the rows that move; w, b, counts, bias are not used */
  int64_t exact, small;
} part_t;

FAST static void passed(const part_t *p, float *from, float *to, double *room, int64_t n) {
  const layer_t *l = &p->law;
  for (int64_t k = 0; k < l->columns; k++)
    for (int64_t i = 0; i < n; i++) from[k * BLOCK + i] -= (float)l->zero_in;
  double *sums = room + l->columns * BLOCK;
  if (p->small)
    product_of_floats(p->w, l->rows, l->columns, from, to, n, BLOCK);
  else {
    for (int64_t k = 0; k < l->columns; k++)
      for (int64_t i = 0; i < n; i++) room[k * BLOCK + i] = from[k * BLOCK + i];
    product(p->w, l->rows, l->columns, room, sums, n, BLOCK);
  }
  const double zero = (double)l->zero, lo = (double)l->lo, hi = (double)l->hi;
  for (int64_t j = 0; j < l->rows; j++) {
    float *q = to + j * BLOCK;
    double *sum = sums + j * BLOCK;
    for (int64_t i = 0; i < n; i++) sum[i] = (p->small ? (double)q[i] : sum[i]) + p->start[j];
    if (p->exact)
      for (int64_t i = 0; i < n; i++) q[i] = (float)clip(rint(sum[i] * p->scale[j]) + zero, lo, hi);
    else
      for (int64_t i = 0; i < n; i++) q[i] = (float)requantised(l, j, (int64_t)sum[i]);
  }
}

/* Of a key of `size` integers, a multiple of 4. */
static uint64_t hashed(const int16_t *key, int64_t size) {
  uint64_t hash = 0, word;
  for (int64_t j = 0; j < size; j += 4) {
    memcpy(&word, key + j, sizeof word);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

/* The place of a key among `kept` ones, which it joins if it is new; table: 0 or 1 + place, `mask` + 1 long. */
static int32_t placed(const int16_t *key, int64_t size, uint64_t hash, int16_t *keys, int32_t *kept,
                      int32_t *table, uint64_t mask) {
  for (;; hash++) {
    int32_t *here = table + (hash & mask);
    if (*here == 0) {
      memcpy(keys + *kept * size, key, (size_t)size * sizeof *key);
      return (*here = ++*kept) - 1;
    }
    if (memcmp(keys + (*here - 1) * size, key, (size_t)size * sizeof *key) == 0) return *here - 1;
  }
}

/* cells (count, columns of the first part); which (count); whole (kept, rows of the last part, at the front of
 * `keys`), kept returned. values, room: 2 * widest * BLOCK; fresh: widest * BLOCK; keys: 2 * widest * count,
 * widest a multiple of 4; places: count; table: 4 * count. */
int64_t tb_states(const part_t *parts, int64_t depth, int64_t count, int64_t widest, const int16_t *cells,
                  int32_t *which, float *values, double *room, int16_t *fresh, int16_t *keys,
                  int32_t *places, int32_t *table) {
  const int16_t *rows = cells;
  int64_t n = count, at = 0, apart = parts[0].law.columns; /* of rows */
  while (at < depth) {
    const int64_t end = at == 0 && depth > 1 ? 2 : at + 1; /* the first layer brings few cells together */
    const int64_t outs = parts[end - 1].law.rows, size = (outs + 3) / 4 * 4;
    int16_t *to = keys + (rows == keys ? widest * count : 0);
    uint64_t hashes[BLOCK];
    int32_t kept = 0;
    uint64_t length = 1;
    while (length < 2 * (uint64_t)n) length *= 2;
    memset(table, 0, length * sizeof *table);
    for (int64_t first = 0; first < n; first += BLOCK) {
      const int64_t m = n - first < BLOCK ? n - first : BLOCK;
      float *x = values, *y = values + widest * BLOCK, *swap;
      for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < parts[at].law.columns; k++) x[k * BLOCK + i] = rows[(first + i) * apart + k];
      for (int64_t l = at; l < end; l++) {
        passed(parts + l, x, y, room, m);
        swap = x, x = y, y = swap;
      }
      for (int64_t i = 0; i < m; i++) {
        int16_t *key = fresh + i * size;
        for (int64_t j = 0; j < size; j++) key[j] = j < outs ? (int16_t)x[j * BLOCK + i] : 0;
        hashes[i] = hashed(key, size);
        PREFETCH(table + (hashes[i] & (length - 1)));
      }
      for (int64_t i = 0; i < m; i++)
        places[first + i] = placed(fresh + i * size, size, hashes[i], to, &kept, table, length - 1);
    }
    for (int64_t i = 0; i < count; i++) which[i] = at == 0 ? places[i] : places[which[i]];
    rows = to, n = kept, at = end, apart = size;
  }
  if (rows != keys) memcpy(keys, rows, (size_t)(n * apart) * sizeof *keys);
  return n;
}
