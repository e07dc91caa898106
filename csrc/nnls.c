#include "nnls.h"

#include <math.h>
#include <string.h>

#include "cholesky.h"
#include "roman_status.h"

#define RIDGE 1e-12     /* on the unit diagonal: twins among the columns stay soluble */
#define TOLERANCE 1e-9  /* of the dual, in units of the largest right-hand side */

enum { N = ROMAN_NNLS_MAX };

/* A pivot lost to rounding becomes RIDGE. */
static const cholesky_rule RULE = {.least = RIDGE, .raise = 1, .reciprocal = 1};

/* Cholesky factor of the rows and columns `at` of h. */
static void factor(int32_t n, const double *h, int k, const int *at, double l[N][N])
{
    for (int i = 0; i < k; i++) {
        for (int j = 0; j <= i; j++) l[i][j] = h[at[i] * n + at[j]] + (i == j ? RIDGE : 0);
    }
    cholesky_factor(RULE, k, N, l[0]);
}

static void solve(int32_t n, const double *h, const double *c, int k, const int *at, double *v)
{
    double l[N][N];
    factor(n, h, k, at, l);
    for (int i = 0; i < k; i++) v[i] = c[at[i]];
    cholesky_solve(RULE, k, N, l[0], v);
}

/* Drops from the list what has become zero. */
static int keep_positive(int k, int *at, const double *x)
{
    int kept = 0;
    for (int i = 0; i < k; i++) {
        if (x[at[i]] > 0) at[kept++] = at[i];
    }
    return kept;
}

/* The first guess: solve for the given columns, throw out the negative ones, until all are positive. */
static int start(int32_t n, const double *h, const double *c, double *x, int *at)
{
    double v[N];
    int k = 0;
    for (int j = 0; j < n; j++) {
        if (x[j] > 0 && h[j * n + j] > 0) at[k++] = j;
        x[j] = 0;
    }
    while (k) {
        int kept = 0;
        solve(n, h, c, k, at, v);
        for (int i = 0; i < k; i++) {
            if (v[i] > 0) {
                v[kept] = v[i];
                at[kept++] = at[i];
            }
        }
        if (kept == k) break;
        k = kept;
    }
    for (int i = 0; i < k; i++) x[at[i]] = v[i];
    return k;
}

/* The column outside the list with the largest positive dual; -1 where none has one. */
static int entering(int32_t n, const double *h, const double *c, const double *x, double least)
{
    int best = -1;
    for (int j = 0; j < n; j++) {
        if (x[j] > 0 || !(h[j * n + j] > 0)) continue;
        double dual = c[j];
        for (int m = 0; m < n; m++) dual = fma(-h[j * n + m], x[m], dual);
        if (dual > least) {
            least = dual;
            best = j;
        }
    }
    return best;
}

int roman_nnls(int32_t n, const double *h, const double *c, double *x)
{
    if (n < 1 || n > N) return ROMAN_ERR_ARGUMENT;
    int at[N];
    double v[N], largest = 0;
    for (int j = 0; j < n; j++) largest = fmax(largest, fabs(c[j]));
    int k = start(n, h, c, x, at);
    for (int round = 0; round < 4 * n; round++) {
        int enter = entering(n, h, c, x, TOLERANCE * largest);
        if (enter < 0) return ROMAN_OK;
        at[k++] = enter;
        for (int cut = 0; cut <= n; cut++) {
            double step = 1;
            int limit = -1;
            solve(n, h, c, k, at, v);
            /* Rounding can give the entering column no room: it is a twin of those inside. */
            if (cut == 0 && v[k - 1] <= 0) return ROMAN_OK;
            for (int i = 0; i < k; i++) {
                double room = x[at[i]] / (x[at[i]] - v[i]);
                if (v[i] <= 0 && room < step) {
                    step = room;
                    limit = i;
                }
            }
            for (int i = 0; i < k; i++) x[at[i]] = fma(step, v[i] - x[at[i]], x[at[i]]);
            if (limit < 0) break;
            x[at[limit]] = 0;
            for (int i = 0; i < k; i++) x[at[i]] = fmax(x[at[i]], 0);
            k = keep_positive(k, at, x);
        }
    }
    return ROMAN_ERR_CONVERGENCE;
}

/* log of the integral of exp(-t y - y^2 / 2) over y >= 0, t >= 0 (Mills' ratio; continued fraction). */
static double log_tail(double t)
{
    if (t < 4) return log(1.2533141373155003 * erfc(t * 0.7071067811865476)) + 0.5 * t * t;
    double below = t;
    for (int k = 12; k > 0; k--) below = t + k / below;
    return -log(below);
}

/* The same up to y = room. */
static double log_tail_within(double t, double room)
{
    if (room * (t + 1) < 1e-7) return log(fmax(room, 1e-300));
    double beyond = log_tail(t + room) - room * (t + 0.5 * room) - log_tail(t);
    return log_tail(t) + log1p(-exp(fmin(beyond, -1e-12)));
}

/* How far a column can grow before one of the positive columns, following it by -share each, is used up. */
static double room_to_grow(int k, const int *at, const double *x, const double *share)
{
    double room = INFINITY;
    for (int i = 0; i < k; i++) {
        if (share[i] > 0) room = fmin(room, x[at[i]] / share[i]);
    }
    return room;
}

double roman_orthant_log_volume(int32_t n, int32_t first, const double *h, const double *c, const double *x)
{
    if (n < 1 || n > N || first < 0) return NAN;
    int at[N], k = 0;
    double l[N][N], sum = 0;
    for (int j = 0; j < n; j++) {
        if (x[j] > 0) at[k++] = j;
    }
    factor(n, h, k, at, l);
    /* The factor takes columns in their order: a pivot is what those before it leave. */
    for (int i = 0; i < k; i++) {
        if (at[i] < first) continue;
        double unit[N] = {0}, variance = 0;
        unit[i] = 1;
        cholesky_forward(RULE, k, N, l[0], unit);
        for (int m = i; m < k; m++) variance = fma(unit[m], unit[m], variance);
        /* sqrt(2 pi) / pivot, and the part of the bell above zero. */
        sum += 0.9189385332046727 + log(l[i][i]);
        double depth = x[at[i]] / sqrt(variance);
        if (depth < 6) sum += log(0.5 * erfc(-depth * 0.7071067811865476));
    }
    for (int j = first; j < n; j++) {
        if (x[j] > 0 || !(h[j * n + j] > 0)) continue;
        double dual = c[j], curvature = h[j * n + j], v[N];
        for (int i = 0; i < k; i++) {
            v[i] = h[j * n + at[i]];
            dual = fma(-v[i], x[at[i]], dual);
        }
        cholesky_forward(RULE, k, N, l[0], v);
        for (int i = 0; i < k; i++) curvature = fma(-v[i], v[i], curvature);
        cholesky_backward(RULE, k, N, l[0], v);
        double width = sqrt(fmax(curvature, RIDGE)), room = width * room_to_grow(k, at, x, v);
        double tail = fmax(-dual, 0) / width;
        sum += (room < 40 ? log_tail_within(tail, room) : log_tail(tail)) - log(width);
    }
    return sum;
}
