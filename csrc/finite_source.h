/* Magnification of a disc by a point lens.
 *
 * In polar coordinates around the lens the point-source magnification integrates in closed form,
 * int A r dr = r sqrt(r^2 + 4) / 2 (Lee et al. 2009, ApJ 695, 200), and Green's theorem turns what is left into
 * an integral along the limb, x = u + rho cos(phi), y = rho sin(phi):
 *   A = 1 / (pi rho) int_0^pi sqrt(1 + 4 / r^2) (rho + u cos(phi)) dphi,  r^2 = u^2 + rho^2 + 2 u rho cos(phi).
 * The integrand is periodic and analytic, so equal steps converge exponentially, unless the limb passes near the
 * lens; there a sinh substitution and Gauss-Legendre nodes resolve the peak. Far from the lens the integral
 * cancels and the expansion in (rho / u)^2 takes over. Linear limb darkening, I = 1 - a (1 - mu), is a
 * superposition of uniform discs.
 */
#ifndef ROMAN_FINITE_SOURCE_H
#define ROMAN_FINITE_SOURCE_H

#include <stdint.h>

/* cffi: begin */
/* u [n] >= 0: separations; rho > 0, at most 1e100: radius of the source, both in Einstein radii; limb: the coefficient a, 0 to
 * 1; magnification [n] out. Relative accuracy 1e-9 uniform, 1e-7 with limb darkening. */
int roman_finite_source(int64_t n, const double *u, double rho, double limb, double *magnification);
/* cffi: end */

#endif
