"""Draw the icon and the logo of the Home Assistant app, as the page's icon.svg.

python docs/app_pictures.py
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).parents[1] / "packaging" / "home-assistant" / "sound_monitor"
TEAL, WHITE = "#14606b", "#ffffff"
CURVE = ((6, 16), (9, 16), (11, 10), (14, 24), (18, 5), (21, 20), (23, 16), (26, 16))
"""The curve of icon.svg, in its 32 units."""

FINER = 8


def draw_icon(size: int) -> Image.Image:
    """Draw the square icon."""
    unit = size * FINER / 32
    image = Image.new("RGBA", (size * FINER,) * 2)
    draw = ImageDraw.Draw(image)
    edge = size * FINER - 1
    draw.rounded_rectangle((0, 0, edge, edge), radius=round(7 * unit), fill=TEAL)
    points = [(x * unit, y * unit) for x, y in CURVE]
    draw.line(points, fill=WHITE, width=round(2.4 * unit), joint="curve")
    for x, y in points:
        draw.circle((x, y), 1.2 * unit, fill=WHITE)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def draw_logo(width: int, height: int) -> Image.Image:
    """Draw the icon with the name beside it."""
    image = Image.new("RGBA", (width, height))
    icon = draw_icon(height * 4 // 5)
    image.paste(icon, ((height - icon.height) // 2,) * 2)
    font = ImageFont.load_default(size=height * 0.32)
    draw = ImageDraw.Draw(image)
    place = (height * 1.05, height / 2)
    draw.text(place, "sound\nmonitor", fill=TEAL, font=font, anchor="lm")
    return image


if __name__ == "__main__":
    draw_icon(128).save(FOLDER / "icon.png", optimize=True)
    draw_logo(250, 100).save(FOLDER / "logo.png", optimize=True)
