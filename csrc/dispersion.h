/* Dispersed images of sources: every pixel of a source's stamp, at every wavelength, is a small parallelogram of
 * uniform light that the optics put on the detector; a detector pixel gets the part that overlaps it.
 *
 * A source stands at a reference place; its stamp is an image on the undispersed detector, rows along y. The
 * trace gives where light from the reference place falls at the edges of the wavelength bins; within a bin light
 * is uniform along the trace. A 2 x 2 matrix (a b; c d), constant within an interval of bins, takes offsets (dx,
 * dy) on the undispersed image to offsets (a dx + b dy, c dx + d dy) on the dispersed one. A stamp may have a
 * plane for every end of an interval (a PSF that changes with wavelength); light between them is shared.
 *
 * How: the light of a stamp row in a detector row is summed over the bins first, exactly, with its first moment in
 * x; where those moments put it, the stamp's pixels are shared among the columns. The light of a detector row
 * comes from a stretch of trace over which x varies a little: overlaps are piecewise linear in x, and where a
 * stretch straddles two pieces, they are joined smoothly. Steep traces are cut into shorter stretches, so that the
 * error stays below 1e-3 of the brightest pixel. Neglected are the shear of a single stamp pixel and c beyond
 * first order. The dispersion runs along y (rows); callers transpose what runs along x.
 *
 * Coordinates are those of the image: pixel (0, 0) has its centre at (0, 0). */
#ifndef ROMAN_DISPERSION_H
#define ROMAN_DISPERSION_H

#include <stdint.h>

/* cffi: begin */
typedef struct {
    int64_t n;
    const float *stamps;
    const int64_t *start;      /* [n] of each source's first plane in stamps */
    const int32_t *ny, *nx;    /* [n] */
    const int32_t *planes;     /* [n] 1, or intervals + 1 */
    const double *x, *y;       /* [n] centre of a stamp's first pixel from the reference place [undispersed px] */
    const double *pitch;       /* [n] side of a stamp pixel [undispersed px] */
} roman_sources;

typedef struct {
    int32_t bins, intervals;
    const int32_t *first;      /* [intervals + 1] first bin of each interval, then `bins` */
    const double *share;       /* [bins] of the plane at the interval's upper end, 0 to 1 */
    const double *x, *y;       /* [n][bins + 1] trace of the reference place at the bins' edges [px] */
    const double *matrix;      /* [n][intervals][4] a, b, c, d */
} roman_traces;

/* Where each source's cut-out lies in the image, and in the block of all cut-outs, where a row has ROMAN_BOX_MARGIN
 * pixels more. Rows are clipped as the caller likes; columns hold the whole width of the dispersed source and two
 * more on either side. */
typedef struct {
    const int64_t *row, *column;   /* [n] of the first pixel */
    const int32_t *rows, *columns; /* [n] */
    const int64_t *start;          /* [n] of the first pixel in the block */
} roman_boxes;

/* The cut-outs of sources begin to end - 1, overwritten, for light [n][bins]: the flux of each bin for a stamp of
 * unit sum. `cutouts` begins with the cut-out of source `begin`. */
int roman_disperse(const roman_sources *sources, const roman_traces *traces, const roman_boxes *boxes,
                   int64_t begin, int64_t end, const double *light, float *cutouts, int32_t threads, int32_t level);

/* The adjoint: light [n][bins] of those sources, overwritten, from their cut-outs. */
int roman_disperse_adjoint(const roman_sources *sources, const roman_traces *traces, const roman_boxes *boxes,
                           int64_t begin, int64_t end, const float *cutouts, double *light, int32_t threads,
                           int32_t level);

/* image [ny][nx] += cut-outs in the order of the sources, whatever the number of threads; and cut-outs taken
 * from the image, 0 outside it. */
int roman_cutouts_add(const roman_boxes *boxes, int64_t begin, int64_t end, const float *cutouts, int64_t ny,
                      int64_t nx, float *image, int32_t threads);
int roman_cutouts_take(const roman_boxes *boxes, int64_t begin, int64_t end, int64_t ny, int64_t nx,
                       const float *image, float *cutouts, int32_t threads);
/* cffi: end */

#define ROMAN_BOX_MARGIN 16

#endif
