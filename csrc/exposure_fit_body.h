/* Body of exposure_fit.c, compiled once per vector level (levels.h). The pieces that threads share. */
#include "psf_stamp_body.h"
#include "exposure_matrix_body.h"
#include "exposure_image_body.h"
#include "exposure_solver_body.h"

static const exposure_pieces AT_LEVEL(exposure_pieces) = {
    AT_LEVEL(prepare_block), AT_LEVEL(matrix_block), AT_LEVEL(subtract_band), AT_LEVEL(sky_band),
    AT_LEVEL(gradient_block), AT_LEVEL(apply_block), AT_LEVEL(step_block), AT_LEVEL(direction_block),
};

static const exposure_pieces *AT_LEVEL(pieces)(void) { return &AT_LEVEL(exposure_pieces); }
