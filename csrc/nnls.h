/* Non-negative least squares from normal equations, and the evidence of such a fit. */
#ifndef ROMAN_NNLS_H
#define ROMAN_NNLS_H

#include <stdint.h>

#define ROMAN_NNLS_MAX 24 /* most columns of one fit */

/* cffi: begin */
/* Minimises x'Hx/2 - c'x over x >= 0, with the active sets of Lawson & Hanson (1974, ch. 23) on the
 * normal equations (Bro & de Jong 1997). h [n][n] symmetric with a diagonal that is 1, or 0 where
 * the column is absent (then x = 0); n <= 24. Start: the columns with x > 0 on entry are tried first.
 * CONVERGENCE: the iteration limit was reached; x holds the last feasible iterate. */
int roman_nnls(int32_t n, const double *h, const double *c, double *x);

/* log of the integral of exp(-(x'Hx/2 - c'x)) over the columns first .. n - 1, all >= 0, relative to its maximum at
 * x (as roman_nnls returns it); the columns before `first` follow as they fit best, where x has them positive.
 * Laplace over the positive columns, each cut at zero by its marginal error, times one exponential-Gaussian
 * tail for every column at its bound, as long as what it takes from the others lasts. Absent columns count 0. */
double roman_orthant_log_volume(int32_t n, int32_t first, const double *h, const double *c, const double *x);
/* cffi: end */

#endif
