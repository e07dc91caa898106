/* Cholesky factors of small symmetric matrices and what is solved by them, for every kernel.
 *
 * Element [i][j] of a matrix is at i * stride + j, and only the lower triangle is used. Every element loses its products
 * in the order of the columns before it, so that going by rows or by columns gives the same bits. A rule is a constant
 * where it is used, and the compiler keeps of these functions what the rule asks for. */
#ifndef ROMAN_CHOLESKY_H
#define ROMAN_CHOLESKY_H

#include <math.h>
#include <stdint.h>

/* Inlined always: with a constant size and rule the loops of a small matrix unroll. */
#define CHOLESKY_INLINE static inline __attribute__((always_inline))

typedef struct {
    double least;   /* of a pivot */
    int relative;   /* `least` is a share of the matrix's own diagonal element, not the pivot itself */
    int raise;      /* a smaller pivot becomes `least`; otherwise there is no factor */
    int reciprocal; /* products are fused, and the factor's diagonal is stored as 1 / element: faster where one factor
                     * serves many solutions, but rounded otherwise than products and quotients by themselves */
} cholesky_rule;

CHOLESKY_INLINE double cholesky_less(cholesky_rule rule, double v, double a, double b)
{
    return rule.reciprocal ? fma(-a, b, v) : v - a * b;
}

CHOLESKY_INLINE double cholesky_over(cholesky_rule rule, double v, double diagonal)
{
    return rule.reciprocal ? v * diagonal : v / diagonal;
}

/* Replaces the matrix by its factor; 0 where a pivot is too small. */
CHOLESKY_INLINE int cholesky_factor(cholesky_rule rule, int n, int stride, double *a)
{
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            double v = a[i * stride + j];
            for (int q = 0; q < j; q++) v = cholesky_less(rule, v, a[i * stride + q], a[j * stride + q]);
            if (i > j) {
                a[i * stride + j] = cholesky_over(rule, v, a[j * stride + j]);
                continue;
            }
            double least = rule.relative ? rule.least * a[j * stride + j] : rule.least;
            if (!(v > least)) {
                if (!rule.raise) return 0;
                v = least;
            }
            a[j * stride + j] = rule.reciprocal ? 1 / sqrt(v) : sqrt(v);
        }
    }
    return 1;
}

/* v := L^-1 v */
CHOLESKY_INLINE void cholesky_forward(cholesky_rule rule, int n, int stride, const double *l, double *v)
{
    for (int i = 0; i < n; i++) {
        double x = v[i];
        for (int q = 0; q < i; q++) x = cholesky_less(rule, x, l[i * stride + q], v[q]);
        v[i] = cholesky_over(rule, x, l[i * stride + i]);
    }
}

/* v := L'^-1 v */
CHOLESKY_INLINE void cholesky_backward(cholesky_rule rule, int n, int stride, const double *l, double *v)
{
    for (int i = n - 1; i >= 0; i--) {
        double x = v[i];
        for (int q = i + 1; q < n; q++) x = cholesky_less(rule, x, l[q * stride + i], v[q]);
        v[i] = cholesky_over(rule, x, l[i * stride + i]);
    }
}

/* v := A^-1 v */
CHOLESKY_INLINE void cholesky_solve(cholesky_rule rule, int n, int stride, const double *l, double *v)
{
    cholesky_forward(rule, n, stride, l, v);
    cholesky_backward(rule, n, stride, l, v);
}

#endif
