// SPDX-License-Identifier: Apache-2.0
// Pictures of layouts as SVG: well-formed, self-contained and deterministic.
#pragma once
#include "layout/layout.h"

/// One cell an element, coloured by thread (hue by warp, shade by lane), "thread:slot" inside it where
/// there is room and in its tooltip always. Rank above 2: slice below slice.
char *layout_svg(vm_arena *a, const layout *f, const char *title);
/// Two layouts of one tile side by side, and between them how a relayout moves it.
char *layout_svg_pair(vm_arena *a, const layout *f, const layout *g, const char *title);
/// A shared layout: cells coloured by bank, the element offset inside.
char *shared_svg(vm_arena *a, const shared_layout *f, unsigned elem_bits, const char *title);
