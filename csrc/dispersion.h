/* Slitless image of one source: its trace, drawn as light on a grid finer than the pixels, convolved with the
 * source's pixel-integrated profile.
 *
 * Light of a wavelength bin lies evenly on the segment between the trace's places at the bin's edges. It goes to the
 * nodes of a grid with over_y x over_x nodes a pixel by quintic B-splines; a node's light has the profile of a source
 * that stands there. Stamps that are the spline coefficients of a pixel-integrated profile, not its values, make that
 * an interpolation. A profile may have planes for several wavelengths (a PSF that widens to the red); the light of a
 * bin is shared between two. Sums of flux are kept.
 *
 * A profile may be sheared by the slopes of a trace that is nearly straight along the columns, as a grism's is: light
 * at (x, y) from the source lies at (x - slope y, y). Such a trace is drawn row by row (straight_trace.h). Smooth
 * profiles are sums of few products of a factor along the trace and one across it, which are drawn at less cost.
 *
 * Coordinates are those of the image: pixel (0, 0) has its centre at (0, 0). Any direction of dispersion will do. */
#ifndef ROMAN_DISPERSION_H
#define ROMAN_DISPERSION_H

#include <stdint.h>

#define ROMAN_STAMP_WIDTH 16 /* of whose multiples stamps and cut-outs are wide */
#define ROMAN_FACTORS 4      /* of whose multiples factors are as many */

/* cffi: begin */
typedef struct {
    const float *stamps;    /* [planes][over_y][over_x][ny][nx], by the node's place within its pixel */
    int32_t planes, over_y, over_x, ny, nx;
    int32_t row, column;    /* of a stamp's first pixel from the pixel that the source stands in */
    const double *slopes;   /* [planes] dx/dy of the trace by which the profile is sheared; NULL: it is not */
    int32_t rank;           /* factors of which a sheared profile's samples are sums of products; 0: stamps are drawn */
    const float *along;     /* [planes][over_y][ny, up to a multiple of ROMAN_FACTORS][rank, such a multiple] factors along the
                             * trace; rows past ny are 0 */
    const float *across;    /* [rank][over_x][nx] */
} roman_profile;

typedef struct {
    int64_t bins;
    const double *x, *y;    /* [bins + 1] places of the bins' edges [px] */
    const int32_t *plane;   /* [bins] the lower of the two planes that serve a bin; not falling */
    const double *share;    /* [bins] of the next plane, 0 to 1 */
} roman_trace;

typedef struct {
    int32_t row, column;    /* of the first pixel in the image */
    int32_t ny, nx;
} roman_cutout;

/* pixels [ny][nx] += the source with light [bins]. Light that falls outside the rows is lost; columns must hold
 * all of it, or the call is refused: unless the profile is sheared, with which light outside them is lost too. */
int roman_disperse(const roman_profile *profile, const roman_trace *trace, const double *light,
                   const roman_cutout *cutout, float *pixels, int32_t level);

/* The adjoint: light [bins], overwritten, is the sum of `pixels` over each bin's image of unit light. */
int roman_disperse_adjoint(const roman_profile *profile, const roman_trace *trace, const float *pixels,
                           const roman_cutout *cutout, double *light, int32_t level);
/* cffi: end */

#endif
