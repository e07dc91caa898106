/* Fit of a spectrum by continuum and line templates at many redshifts.
 *
 * At every redshift the model is a non-negative sum of columns: continua, tabulated over log wavelength, and
 * line templates, each a set of Gaussians of fixed flux ratios as wide as the spectrum's line-spread
 * function at their centre and the line's own width together. The normal matrices of eight redshifts are summed
 * side by side in the vector lanes: on a log(1+z) grid whose step is that of the table, neighbouring redshifts read neighbouring
 * cells, and no sum crosses lanes, so that all levels give the same bits. Lines touch few pixels: only the
 * columns present in a pixel cost anything there.
 *
 * The evidence of a redshift is the integral of the likelihood over the amplitudes of the lines, which have an
 * exponential prior of given rate: a line without data then counts 1, whatever the redshift. Continua follow
 * as they fit best: nearly collinear as they are, the volume that non-negativity leaves them has no simple
 * form, and says little of the redshift.
 */
#ifndef ROMAN_REDSHIFT_H
#define ROMAN_REDSHIFT_H

#include <stdint.h>

#define ROMAN_SCAN_CONTINUA 12
#define ROMAN_SCAN_COLUMNS 24 /* continua and line templates together */

/* cffi: begin */
/* Cell g of a continuum holds its value at the rest wavelength exp(log_end - g log_step) [nm]: redder
 * first, so that a higher redshift is a higher cell. Lines: rest wavelength [nm], flux for a unit of
 * their template's amplitude, own width as sigma of ln(wavelength), and template 0 .. n_line_columns - 1. */
typedef struct {
    int32_t n_continua, n_line_columns, n_lines;
    int64_t n_cells;
    double log_end, log_step;
    const double *continua; /* [n_continua][n_cells] */
    const double *line_wavelength, *line_flux, *line_width;
    const int32_t *line_column;
} roman_scan_templates;

/* wavelength [n] increasing [nm], flux, weight (inverse variance, >= 0), lsf (sigma, > 0) [nm], all finite.
 * log_1pz [n_z]: ln(1+z), any order; fastest where neighbours differ by log_step.
 * rate [n_line_columns]: rate of the exponential prior of each line amplitude [1/amplitude]; 0: flat, of density 1.
 * Out: chi2 [n_z]; log_evidence [n_z]; amplitude [n_z][n_continua + n_line_columns].
 * ARGUMENT also where a pixel of weight > 0 falls outside the table. A redshift whose fit did not
 * converge keeps its last feasible amplitudes. */
int roman_redshift_scan(const roman_scan_templates *templates, int64_t n, const double *wavelength,
                        const double *flux, const double *weight, const double *lsf, int64_t n_z,
                        const double *log_1pz, const double *rate, double *chi2,
                        double *log_evidence, double *amplitude, int32_t level);
/* cffi: end */

#endif
