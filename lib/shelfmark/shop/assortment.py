"""What the shop sells: products and their flavours, brands and their liveries. Data, no code.

Six flavours a product, so a family (one brand's line of one product) has up to six SKUs.
"""

from __future__ import annotations

from typing import NamedTuple


class Flavour(NamedTuple):
    """The word on the label, the colour that goes with it and a picture from `icons`."""

    word: str
    color: str
    icon: str


class Product(NamedTuple):
    """A kind of goods, sold in one shape of pack from `shapes`."""

    name: str
    shape: str
    amount: str
    flavours: tuple[Flavour, ...]


class Palette(NamedTuple):
    """A brand's colours: pack, second colour, label paper, ink on the paper."""

    base: str
    second: str
    paper: str
    ink: str


def _product(name: str, shape: str, amount: str, *flavours: str) -> Product:
    return Product(name, shape, amount, tuple(Flavour(*text.split("/")) for text in flavours))


PRODUCTS: tuple[Product, ...] = (
    _product("Juice", "bottle", "750 ml", "Orange/#f08c00/citrus", "Apple/#66a80f/apple", "Cherry/#c2255c/cherry",
             "Mango/#fcc419/drop", "Grape/#7048e8/berries", "Guava/#f06595/flower"),
    _product("Soda", "can", "33 cl", "Lime/#74b816/citrus", "Cola/#862e9c/drop", "Ginger/#e8a33d/sun",
             "Berry/#3b5bdb/berries", "Tonic/#22b8cf/star", "Peach/#ff8787/apple"),
    _product("Oat drink", "carton", "1 litre", "Natural/#e9dcc0/grain", "Vanilla/#ffd43b/flower", "Cocoa/#7f4f24/bean",
             "Coffee/#343a40/cup", "Banana/#f59f00/sun", "Almond/#c68b59/nut"),
    _product("Jam", "jar", "340 g", "Berry/#d6336c/berries", "Apricot/#fd7e14/apple", "Fig/#6741d9/drop",
             "Cherry/#a61e4d/cherry", "Plum/#364fc7/nut", "Lemon/#fab005/citrus"),
    _product("Coffee", "pouch", "250 g", "House/#c92a2a/cup", "Mocha/#7f4f24/bean", "Crema/#f08c00/sun",
             "Decaf/#2b8a3e/leaf", "Dark/#212529/mountain", "Filter/#1971c2/drop"),
    _product("Tea", "box", "20 bags", "Mint/#2f9e44/leaf", "Chai/#d9480f/star", "Earl Grey/#364fc7/cup",
             "Rooibos/#c92a2a/sun", "Jasmine/#f06595/flower", "Lemon/#fcc419/citrus"),
    _product("Toothpaste", "tube", "75 ml", "Mint/#12b886/leaf", "White/#adb5bd/star", "Fresh/#228be6/wave",
             "Kids/#f06595/heart", "Herbal/#5c940d/grain", "Clove/#e8590c/flower"),
    _product("Chocolate", "bar", "100 g", "Milk/#4dabf7/drop", "Dark/#212529/bean", "Hazelnut/#d9822b/nut",
             "Orange/#fd7e14/citrus", "Sea salt/#15aabf/wave", "Cherry/#c2255c/cherry"),
    _product("Soup", "tin", "400 g", "Tomato/#e03131/apple", "Pea/#40c057/leaf", "Corn/#fcc419/grain",
             "Lentil/#e8590c/bean", "Onion/#ae3ec9/drop", "Mushroom/#8d6e63/mountain"),
    _product("Yoghurt", "tub", "450 g", "Natural/#74c0fc/wave", "Berry/#7048e8/berries", "Honey/#fab005/sun",
             "Peach/#ff922b/apple", "Cherry/#d6336c/cherry", "Coconut/#8d6e63/nut"),
    _product("Shampoo", "flask", "300 ml", "Citrus/#fab005/citrus", "Rose/#e64980/flower", "Aloe/#37b24d/leaf",
             "Ocean/#1c7ed6/wave", "Lavender/#9775fa/grain", "Cedar/#8d6e63/mountain"),
    _product("Cereal", "packet", "500 g", "Honey/#fab005/sun", "Cocoa/#7f4f24/bean", "Berry/#c2255c/berries",
             "Nut/#d9822b/nut", "Apple/#66a80f/apple", "Classic/#1971c2/grain"),
    _product("Crisps", "bag", "150 g", "Salt/#228be6/wave", "Paprika/#e03131/sun", "Onion/#37b24d/drop",
             "Cheese/#fcc419/star", "Pepper/#343a40/mountain", "Chili/#f76707/leaf"),
    _product("Cleaner", "jug", "1 litre", "Lemon/#fcc419/citrus", "Pine/#2b8a3e/leaf", "Ocean/#1c7ed6/wave",
             "Rose/#e64980/flower", "Alpine/#15aabf/mountain", "Violet/#7048e8/star"),
)  # fmt: skip

BRANDS: tuple[str, ...] = (
    "Solva", "Nordi", "Kestrel", "Amari", "Tobler", "Vesper", "Orchard", "Lumo", "Pilgrim", "Fjell", "Casa Rio",
    "Bonnet", "Zephyr", "Marlow", "Hearth", "Quill", "Juno", "Osprey", "Delfi", "Rambler", "Alto", "Birch", "Comet",
    "Piccolo", "Harbor", "Meadow", "Tindra", "Velo",
)  # fmt: skip

PALETTES: tuple[Palette, ...] = tuple(
    Palette(*text.split())
    for text in (
        "#1d4e89 #f2b134 #fdfaf1 #12304b", "#f4f1ea #c1121f #ffffff #780000", "#2d6a4f #d8f3dc #fffef5 #1b4332",
        "#f6bd60 #84a59d #fffaf0 #5f3d1e", "#22223b #c9ada7 #f2e9e4 #22223b", "#e63946 #f1faee #ffffff #7d1720",
        "#a8dadc #1d3557 #ffffff #1d3557", "#fefae0 #bc6c25 #ffffff #4a2c0f", "#5a189a #ffc6ff #fff7ff #3c096c",
        "#ffb3c1 #a4133c #fff0f3 #800f2f", "#006d77 #ffddd2 #fdfcf7 #083d44", "#343a40 #ffd166 #fff9e8 #212529",
        "#ffffff #0077b6 #eaf6ff #023e8a", "#d62828 #fcbf49 #fff6e0 #6a040f", "#cad2c5 #52796f #ffffff #2f3e46",
        "#3a5a40 #dda15e #fefae0 #283618", "#ffe8d6 #6b705c #fffdf9 #463f3a", "#0081a7 #fed9b7 #fdfcdc #00425a",
        "#f2e9de #3d405b #ffffff #3d405b", "#7f5539 #ede0d4 #fff8ef #43281c", "#b5e48c #184e77 #fbfff2 #184e77",
        "#ffd60a #003566 #ffffff #001d3d", "#e0e1dd #415a77 #ffffff #0d1b2a", "#ff7f51 #720026 #fff3ea #4f000b",
        "#dfe7fd #7765e3 #ffffff #3b28b8", "#14213d #fca311 #f5f5f5 #14213d", "#f8edeb #e5989b #ffffff #6d2e46",
        "#386641 #f2e8cf #ffffff #1f3d27",
    )
)  # fmt: skip
