// What the measures mean, said once and shown where they are used.

const WORDS = {
  activation: ["Activation", "An image’s activation of a channel is the channel’s largest value at any position in that image."],
  largest: ["Largest activation", "The largest activation over all images."],
  active: ["Active", "The share of images with an activation above 0."],
  dead: ["Dead", "No image activates the channel: its largest activation is 0 or less."],
  dominant: ["Dominant", "The channel’s largest activation is more than 5 times the median of those of its layer that are not dead."],
  saturated: ["Saturated", "More images than are shown reach the channel’s largest activation, as in a network with ReLU6. Those with the smallest indices are shown. Where the activation no longer grows, its gradient is 0."],
  auc: ["Best class, AUC", "The AUC of a class is the share of pairs, of an image of the class and an image of another class, in which the first activates the channel more. Equal activations count half. 0.5 is chance, 1 is a perfect detector. The best class is the one that is furthest above chance, in standard deviations (z)."],
  selective: ["Selective", "The AUC of the best class is at least 0.9, and its z is at least 4."],
  object: ["Energy on the object", "The share of the projections’ squared values that lies on the object, where masks of the objects are known. By chance: the share of another channel’s projection, moved to random places."],
  jump: ["Last jump", "The last epoch at which another training image became the channel’s strongest. Features that no longer jump have settled."],
  sees: ["Receptive field", "The part of the image that can influence one unit. It may reach beyond the border of the image."],
  projection: ["Projection", "The deconvnet keeps the activation of one unit, sets all others of the layer to 0, and maps it back to pixels, through the pooling switches and the transposed filters. Mid-gray is 0."],
  patch: ["Patch", "The part of the image that the unit sees."],
  contrastive: ["Contrastive projection", "The projection without what is common to random channels at the same place: what is this unit’s own. It is ours, not the paper’s."],
  share: ["Share", "The contribution of a channel below is its activation times the unit’s gradient, summed over positions, for the strongest image. The share is its part of the sum of all absolute contributions. A negative share inhibits."],
  cka: ["Linear CKA", "Compares two layers by their activations of the same images. 1 means equal up to rotation and scale, 0 means unrelated. It is too large if there are few images: 0.5 for unrelated layers with as many channels as images."],
  matched: ["Matched, r", "Each channel of the first network has at most one partner in the second. The pairs are chosen together, so that the sum of their correlations r over the images is largest. r by chance is what 1 % of the pairs exceed when the images of one network are shuffled."],
};

const explain = (...names) => el("dl", { class: "words" }, names.filter(Boolean).map((name) =>
  el("div", {}, el("dt", {}, WORDS[name][0]), el("dd", {}, WORDS[name][1]))));

const explanation = (name) => WORDS[name][1];

// The controls of the strongest example: heading, and what it is.
const CONTROLS = {
  contrastive: ["Contrastive", "What is this unit’s own: the part that random channels at the same place share is removed. Ours, not the paper’s."],
  random_channel: ["Other channel", "The same place, projected from a random other channel. A projection that looks the same says little about its unit."],
  random_weights: ["Random weights", "The same unit and image in a network whose weights are shuffled. What remains does not come from learning."],
  guided: ["Guided", "Guided backpropagation: also masks where the unit’s input was 0."],
  gradient: ["Gradient", "The plain gradient of the activation with respect to the pixels."],
  occlusion: ["Occlusion", "How much of the channel’s activation is lost where a gray square covers the image. Bright: much. Mid-gray: nothing."],
};
