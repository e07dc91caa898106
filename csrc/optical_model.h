/* Slitless dispersion as the Science Support Center's optical model has it: the pixel of a source and a
 * wavelength give the pixel where that light falls.
 *
 * A pixel (x0, y0) of the undispersed detector is a place (p, q) [deg] on the focal plane, x running against
 * it. With w = lambda - reference (grism) or log10(lambda / reference) (prism), and polynomials in (p, q) whose
 * coefficient arrays are [power of p][power of q],
 *   Dy = sum_i w^i ids_i(p, q),  Dx = sum_i Dy^i crv_i(p, q)                                      [mm]
 *   X = xmap(p, q) + Dx,         Y = ymap(p, q) + Dy                                              [mm]
 * and (X, Y) is a pixel of the same detector again. All in double, with explicit fma. */
#ifndef ROMAN_OPTICAL_MODEL_H
#define ROMAN_OPTICAL_MODEL_H

#include <stdint.h>

#define ROMAN_MAX_TERMS 16 /* coefficients along one axis */

/* cffi: begin */
typedef struct {
    const double *xmap, *ymap, *ids, *crv;
    int32_t map_i, map_j;           /* shape of xmap and ymap */
    int32_t ids_i, ids_j, ids_k;    /* shape of ids */
    int32_t crv_i, crv_j, crv_k;    /* shape of crv */
    int32_t logarithmic;            /* w is log10(lambda / reference) */
    double reference;               /* wavelength [um] */
    double crpix_x, crpix_y;        /* pixel at the detector's centre */
    double centre_x, centre_y;      /* of the detector [mm] */
    double px_per_mm, deg_per_px;
} roman_optics;

/* Places x, y [n] of light of wavelength [n] um from (x0, y0) [n]. */
int roman_trace_points(const roman_optics *optics, int64_t n, const double *x0, const double *y0,
                       const double *wavelength, double *x, double *y, int32_t level);

/* Places x, y [n][m] of every wavelength [m] from every (x0, y0) [n]: the same values, sooner. */
int roman_trace_grid(const roman_optics *optics, int64_t n, const double *x0, const double *y0, int64_t m,
                     const double *wavelength, double *x, double *y, int32_t level);

/* Slopes dx/dlambda, dy/dlambda [n] [px/um]. */
int roman_trace_slopes(const roman_optics *optics, int64_t n, const double *x0, const double *y0,
                       const double *wavelength, double *dx, double *dy, int32_t level);
/* cffi: end */

#endif
